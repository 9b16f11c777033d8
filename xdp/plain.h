/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A shortcut through the headers for the packets that are nearly all: UDP over IPv4 or
 * IPv6 without a VLAN tag, an option, an extension header or a fragment. Their headers are
 * where a compiler can know them, so that this costs half of what packet.h does. It
 * decides nothing that packet.h would decide otherwise; whatever is not so simple is left
 * to it.
 */
#ifndef XDPCTL_PLAIN_H
#define XDPCTL_PLAIN_H

#include "dns.h"
#include "packet.h"

/* Not a verdict: the packet has to be parsed in full. */
#define NOT_PLAIN ((__u64)0xfffe)

#define TRAITS_PLAIN	(TRAIT_UDP | TRAIT_ADDRESS | TRAIT_FILTERED | TRAIT_PORT)
#define IPV4_NO_OPTIONS (4 << 4 | IPV4_HEADER_MIN / 4) /* version and header length */

/*
 * Returns CONTINUE for a plain DNS packet to a --port whose DNS header is whole, PASS_OTHER
 * for a plain packet that is not filtered, else NOT_PLAIN, which leaves `packet` as it was.
 */
static __always_inline __u64 classify_plain(const struct cursor *cursor, struct packet *packet)
{
	const struct ethernet_header *ethernet = (const struct ethernet_header *)cursor->start;
	const struct ipv4_header *v4 = (const struct ipv4_header *)(ethernet + 1);
	const struct ipv6_header *v6 = (const struct ipv6_header *)(ethernet + 1);
	const struct udp_header *udp = (const struct udp_header *)(v4 + 1);
	bool is_filtered;
	__u64 traits;
	__u16 port;

	if ((const __u8 *)(udp + 1) > cursor->end)
		return NOT_PLAIN;
	if (ethernet->ethertype_be == be16(ETHERTYPE_IPV4)) {
		if (v4->version_ihl != IPV4_NO_OPTIONS || v4->protocol != PROTOCOL_UDP ||
		    v4->fragment_be & be16(FRAGMENT_OFFSET | FRAGMENT_MORE))
			return NOT_PLAIN;
		is_filtered = is_filtered_ipv4(v4->daddr_be);
		traits = TRAITS_PLAIN;
	} else if (ethernet->ethertype_be == be16(ETHERTYPE_IPV6)) {
		udp = (const struct udp_header *)(v6 + 1);
		if ((const __u8 *)(udp + 1) > cursor->end || v6->version_class >> 4 != 6 ||
		    v6->next_header != PROTOCOL_UDP)
			return NOT_PLAIN;
		is_filtered = is_filtered_ipv6(v6->daddr_be);
		traits = TRAITS_PLAIN | TRAIT_IPV6;
	} else {
		return NOT_PLAIN;
	}
	port = be16(udp->destination_be);
	if (!is_filtered || !is_port(port))
		return CONFIG_XSK || is_address_port(port) ? NOT_PLAIN : PASS_OTHER;
	if ((const __u8 *)(udp + 1) + DNS_HEADER > cursor->end)
		return NOT_PLAIN;
	packet->traits |= traits;
	packet->network = sizeof(*ethernet);
	packet->transport = (const __u8 *)udp - cursor->start;
	return CONTINUE;
}

#endif
