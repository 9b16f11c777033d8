/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * AF_XDP: which destinations are registered, which frames dnsdist takes from its
 * socket, and the redirect to it. Without --xsk none of this is in the program.
 */
#ifndef XDPCTL_XSK_H
#define XDPCTL_XSK_H

#include "dns.h"
#include "packet.h"

#define XSK_FRAME_MAX 1792 /* size of dnsdist's buffers */
#define TRAITS_NO_XSK \
	(TRAIT_VLAN | TRAIT_OPTIONS | TRAIT_EXTENSIONS | TRAIT_FIRST_FRAGMENT | TRAIT_BUFFERS)

/* Whether the packet's address and port are a registered AF_XDP destination. */
static __always_inline bool is_destination(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	const struct udp_header *udp = (const struct udp_header *)(start + transport);

	if ((const __u8 *)(udp + 1) > end)
		return false;
	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)(start + network);

		if (!CONFIG_XSK_V6 || (const __u8 *)(ip + 1) > end)
			return false;
		scratch->words[0] = load64(ip->daddr_be);
		scratch->words[1] = load64(ip->daddr_be + 8);
		scratch->words[2] = 0;
		store16(scratch->destination6.port_be, udp->destination_be);
		return map_lookup(MAP_XSK_DESTINATIONS_V6, &scratch->destination6);
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)(start + network);

		if (!CONFIG_XSK_V4 || (const __u8 *)(ip + 1) > end)
			return false;
		scratch->words[0] = 0;
		store32(scratch->destination4.daddr_be, ip->daddr_be);
		store16(scratch->destination4.port_be, udp->destination_be);
		return map_lookup(MAP_XSK_DESTINATIONS_V4, &scratch->destination4);
	}
}

/* Whether a whole DNS header follows the UDP header before the packet's end. */
static __always_inline bool is_dns(struct xdp_md *ctx, const struct scratch *scratch)
{
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;

	return frame_start(ctx) + transport + UDP_HEADER + DNS_HEADER <= frame_end(ctx) &&
	       !is_cut_off(scratch_get(scratch, traits), scratch_get(scratch, end),
			   transport + UDP_HEADER + DNS_HEADER);
}

/* Stage 2, with AF_XDP: UDP to other than a --port is filtered if it is registered. */
static __always_inline __u64 destination(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 traits = scratch_get(scratch, traits);

	if (!(traits & TRAIT_UDP) || traits & TRAIT_PORT)
		return CONTINUE;
	if (is_destination(ctx, scratch)) {
		if (traits & TRAIT_RAGGED)
			return DROP_FRAGMENT;
		if (!is_dns(ctx, scratch))
			return no_dns_header(
				is_cut_by_buffer(ctx, traits, scratch_get(scratch, end)));
		scratch_put(scratch, traits, traits | TRAIT_DESTINATION);
	} else if (!(traits & TRAIT_FILTERED)) {
		return PASS_OTHER;
	}
	return CONTINUE;
}

/* Whether dnsdist takes such a frame from its socket. It discards others silently. */
static __always_inline bool is_eligible(struct xdp_md *ctx, const struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	__u64 traits = scratch_get(scratch, traits);
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	__u64 length = end - start;
	const struct udp_header *udp = (const struct udp_header *)(start + transport);
	__u64 ip_length;

	if (traits & TRAITS_NO_XSK || length > XSK_FRAME_MAX)
		return false;
	if ((const __u8 *)(udp + 1) > end || be16(udp->length_be) != length - transport)
		return false;
	if (traits & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return false;
		ip_length = IPV6_HEADER + be16(ip->payload_length_be);
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return false;
		ip_length = be16(ip->total_length_be);
	}
	return length == network + ip_length;
}

/* Stage 9, with AF_XDP: a packet that passes is redirected to its socket. */
static __always_inline __u64 deliver(struct xdp_md *ctx, struct scratch *scratch, __u64 verdict)
{
	__u64 traits = scratch_get(scratch, traits);
	bool decided = reason_of(verdict) != REASON_NO_MATCH;

	if (traits & TRAIT_PORT ? !is_destination(ctx, scratch) : !(traits & TRAIT_DESTINATION))
		return verdict;
	if (!is_eligible(ctx, scratch))
		return decided ? verdict : VERDICT(REASON_XSK_INELIGIBLE, ACTION_PASS);
	return VERDICT(decided ? reason_of(verdict) : REASON_REDIRECT,
		       redirect_to_queue(ctx) == XDP_REDIRECT ? ACTION_REDIRECT : ACTION_PASS);
}

#endif
