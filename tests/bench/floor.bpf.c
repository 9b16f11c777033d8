/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The floor of every figure: reads a packet with the filter's own headers up to
 * where its question ends, and counts it. No rule is looked up, so nothing that
 * looks at questions can be cheaper.
 */
#include "rules.h"

int xdpctl_floor(struct xdp_md *ctx)
{
	struct cursor cursor = {frame_start(ctx), frame_end(ctx), 0, whole_size(ctx)};
	struct packet packet = {};
	const struct dns_header *dns;
	const __u8 *name;
	__u16 port;

	if (parse_packet(&cursor, &packet, &port) != CONTINUE)
		return XDP_PASS;
	if (!(packet.traits & TRAIT_UDP) || !is_port(port))
		return XDP_PASS;
	packet.transport &= OFFSET_MASK;
	opaque(packet.transport);
	dns = (const struct dns_header *)(frame_start(ctx) + packet.transport + UDP_HEADER);
	if ((const __u8 *)(dns + 1) > frame_end(ctx))
		return XDP_DROP;
	if (dns->flags_high & (DNS_QR | DNS_OPCODE) || !dns->qdcount_be)
		return XDP_PASS;
	name = (const __u8 *)(dns + 1);
	return dns_name_length(dns_walk_name(name, frame_end(ctx), NULL), frame_end(ctx) - name)
		       ? XDP_PASS
		       : XDP_DROP;
}
