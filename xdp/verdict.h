/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a stage returns: a verdict or CONTINUE. A verdict is a reason and an action in
 * one number, which is also the index of its counter's cell.
 */
#ifndef XDPCTL_VERDICT_H
#define XDPCTL_VERDICT_H

#include "config.h"

#define VERDICT(reason, action) ((__u64)((reason) << 2 | (action)))
#define VERDICT_MASK		(REASON_SLOTS * ACTION_COUNT - 1)

#define PASS_OTHER VERDICT(REASON_OTHER, ACTION_PASS)
#define CONTINUE   ((__u64)0xffff)

/* The verdict of a query that no rule decided: the limits are asked. */
#define UNDECIDED (CONFIG_LIMITS ? (__u64)0xfffd : VERDICT(REASON_NO_MATCH, ACTION_PASS))

/* A rule is represented by the verdict it asks for. No rule has reason `other`. */
#define NO_RULE ((__u64)0)

_Static_assert((int)RULE_PASS == (int)ACTION_PASS && (int)RULE_DROP == (int)ACTION_DROP &&
		       (int)RULE_TRUNCATE == (int)ACTION_TRUNCATE,
	       "rule actions and packet actions have the same numbers");

static __always_inline __u64 action_of(__u64 verdict)
{
	return verdict & 3;
}

static __always_inline __u64 reason_of(__u64 verdict)
{
	return (verdict & VERDICT_MASK) >> 2;
}

/* The kernel's code for an action, one nibble each, ACTION_PASS lowest. */
static __always_inline int xdp_code(__u64 verdict)
{
	const __u64 codes = XDP_PASS << 4 * ACTION_PASS | XDP_DROP << 4 * ACTION_DROP |
			    XDP_TX << 4 * ACTION_TRUNCATE | XDP_REDIRECT << 4 * ACTION_REDIRECT;

	return codes >> 4 * action_of(verdict) & 15;
}

#endif
