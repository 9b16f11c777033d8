/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stage 7: the limits, for what no rule decided: in total (flood.h), by source (accounts.h)
 * and by zone (zone_limit.h). All are read before anything is taken from any. Whether the
 * source is proven, and whether it sent a good cookie, is only asked where the packet would
 * be refused.
 */
#ifndef XDPCTL_LIMITS_H
#define XDPCTL_LIMITS_H

#include "cookie.h"
#include "flood.h"
#include "proof.h"
#include "verdict.h"

#if CONFIG_ZONE_LIMITS
#include "zone_limit.h"
#else
#define zone_limit_allows(ctx, scratch) ((void)(ctx), true)
#define zone_limit_take(ctx, scratch)	((void)(ctx))
#endif

#if CONFIG_HEAVY
#include "heavy.h"
#else
#define count_end(ctx, scratch) ((void)(ctx))
#endif

/* What a packet that goes on takes from the total. */
enum ticket {
	TICKET_NONE = 0, /* there is no limit in total, or a good cookie */
	TICKET_X = 1,
	TICKET_Y = 2,
	TICKET_REFUSED = 3,
};

/* What is known of the sender. */
enum knowledge {
	KNOWN_ASKED = 1 << 0,
	KNOWN_PROVEN = 1 << 1,
};

/* The first with the account of everybody, the second with that of who is known. */
#define TRIES (CONFIG_PROVEN || CONFIG_COOKIES ? 2 : 1)

/* What anybody has: TICKET_Y stands for nothing left of X. */
static __always_inline __u64 ticket_of_anybody(const struct limits *limits,
					       const struct scratch *scratch)
{
	if (!CONFIG_FLOOD || !has_flood_limit(limits, FLOOD_X))
		return TICKET_NONE;
	return flood_allows(limits, scratch, FLOOD_X) ? TICKET_X : TICKET_Y;
}

/* Asks whether the source is proven, once a packet. */
static __always_inline bool knows_source(struct xdp_md *ctx, struct scratch *scratch)
{
	if (!CONFIG_PROVEN)
		return false;
	if (!scratch_get(scratch, known)) {
		__u8 known = is_proven_source(ctx, scratch) ? KNOWN_PROVEN : 0;

		scratch_put(scratch, known, known | KNOWN_ASKED);
	}
	return scratch_get(scratch, known) & KNOWN_PROVEN;
}

/* Chooses the account of the first try. Returns false if there is none without a ticket. */
static __always_inline bool first_try(struct xdp_md *ctx, const struct limits *limits,
				      struct scratch *scratch)
{
	use_account(limits, scratch, ACCOUNT_PLAIN);
	if (!CONFIG_FLOOD || scratch_get(scratch, ticket) != TICKET_Y)
		return true;
	if (!knows_source(ctx, scratch) || !has_flood_limit(limits, FLOOD_Y) ||
	    !flood_allows(limits, scratch, FLOOD_Y)) {
		scratch_put(scratch, ticket, TICKET_REFUSED);
		return false;
	}
	scratch_put(scratch, dearer, flood_share(limits));
	return true;
}

/* Chooses the account of the second try. Returns false if the sender has none. */
static __always_inline bool second_try(struct xdp_md *ctx, const struct limits *limits,
				       struct scratch *scratch)
{
	if (CONFIG_COOKIES && has_good_cookie(ctx, scratch)) {
		use_account(limits, scratch, ACCOUNT_COOKIE);
		scratch_put(scratch, dearer, 0);
		if (scratch_get(scratch, ticket) != TICKET_X)
			scratch_put(scratch, ticket, TICKET_NONE);
		return true;
	}
	if (scratch_get(scratch, ticket) == TICKET_REFUSED || !knows_source(ctx, scratch))
		return false;
	use_account(limits, scratch, ACCOUNT_PROVEN);
	return true;
}

/* Whether the total and the source's accounts let the packet go on. */
static __always_inline bool may_go_on(struct xdp_md *ctx, const struct limits *limits,
				      struct scratch *scratch)
{
	scratch_put(scratch, known, 0);
	scratch_put(scratch, dearer, 0);
	scratch_put(scratch, ticket, ticket_of_anybody(limits, scratch));
	for (__u64 try = 0; try < TRIES; try++) {
		bool has_account;

		opaque(try); /* else there is a copy of everything for each */
		has_account =
			try ? second_try(ctx, limits, scratch) : first_try(ctx, limits, scratch);
		if (has_account && (!CONFIG_SOURCE_LIMITS || accounts_allow(limits, scratch)))
			return true;
	}
	return false;
}

/* The reason why a packet is refused by the total or its source's accounts. */
static __always_inline __u64 reason_of_refusal(const struct scratch *scratch)
{
	bool by_total =
		scratch_get(scratch, ticket) == TICKET_REFUSED || scratch_get(scratch, dearer);

	return by_total ? REASON_UNPROVEN : REASON_LIMIT;
}

/* Takes what the packet costs from everything that let it go on. */
static __always_inline void pay(struct xdp_md *ctx, const struct limits *limits,
				struct scratch *scratch)
{
	if (CONFIG_FLOOD && scratch_get(scratch, ticket) == TICKET_X)
		take_ticket(limits, scratch, FLOOD_X);
	if (CONFIG_FLOOD && CONFIG_PROVEN && scratch_get(scratch, ticket) == TICKET_Y)
		take_ticket(limits, scratch, FLOOD_Y);
	if (CONFIG_SOURCE_LIMITS)
		pay_accounts(limits, scratch);
	if (CONFIG_ZONE_LIMITS)
		zone_limit_take(ctx, scratch);
}

/* Whether it is this limited packet's turn to be answered. */
static __always_inline bool is_its_turn(const struct limits *limits, struct scratch *scratch)
{
	__u64 slip = limits_get(limits, slip);
	__u64 turn = scratch_get(scratch, turn) + 1;
	bool its_turn = slip && turn >= slip;

	scratch_put(scratch, turn, its_turn ? 0 : turn);
	return its_turn;
}

/*
 * The stage. Returns the verdict of a packet that goes on or is dropped; CONTINUE if it is to
 * be answered with TC=1, under the reason in the scratch's `rule`.
 */
static __always_inline __u64 limit(struct xdp_md *ctx, struct scratch *scratch)
{
	const struct limits *limits = limits_now();
	__u64 reason = 0;

	if (CONFIG_HEAVY)
		count_end(ctx, scratch);
	if (!may_go_on(ctx, limits, scratch))
		reason = reason_of_refusal(scratch);
	else if (CONFIG_ZONE_LIMITS && !zone_limit_allows(ctx, scratch))
		reason = REASON_ZONE_LIMIT;
	scratch_put(scratch, rule, VERDICT(reason, ACTION_TRUNCATE));
	reason = reason_of(scratch_get(scratch, rule));
	if (!reason) {
		pay(ctx, limits, scratch);
		return VERDICT(REASON_NO_MATCH, ACTION_PASS);
	}
	if (limits_get(limits, dry_run))
		return VERDICT(reason, ACTION_PASS);
	return is_its_turn(limits, scratch) ? CONTINUE : VERDICT(reason, ACTION_DROP);
}

#endif
