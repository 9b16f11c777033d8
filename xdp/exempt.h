/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Exempt prefixes: their packets pass in front of every rule and limit.
 */
#ifndef XDPCTL_EXEMPT_H
#define XDPCTL_EXEMPT_H

#include "packet.h"

/* Whether the packet's source is in an exempt prefix. */
static __always_inline bool is_exempt(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const __u8 *header = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);

	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)header;

		if ((const __u8 *)(ip + 1) > end)
			return false;
		scratch->prefix6.key.prefixlen = 128;
		store64(scratch->prefix6.key.saddr_be, load64(ip->saddr_be));
		store64(scratch->prefix6.key.saddr_be + 8, load64(ip->saddr_be + 8));
		return map_lookup(MAP_EXEMPT6, &scratch->prefix6.key);
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)header;

		if ((const __u8 *)(ip + 1) > end)
			return false;
		scratch->prefix4.prefixlen = 32;
		store32(scratch->prefix4.saddr_be, ip->saddr_be);
		return map_lookup(MAP_EXEMPT4, &scratch->prefix4);
	}
}

#endif
