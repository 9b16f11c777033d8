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
#include "rules.h"

/* Not a verdict: the packet has to be parsed in full. */
#define NOT_PLAIN ((__u64)0xfffe)

/* Exempt prefixes come before every rule: then the shortcut asks for none (exempt.h). */
#define ASKS_PLAIN (!CONFIG_EXEMPT)

#define TRAITS_PLAIN \
	(TRAIT_UDP | TRAIT_ADDRESS | TRAIT_FILTERED | TRAIT_PORT | ASKS_PLAIN * TRAIT_ASKED)
#define IPV4_NO_OPTIONS (4 << 4 | IPV4_HEADER_MIN / 4) /* version and header length */

/*
 * The verdict by the ports of a plain packet, and where it is sent: CONTINUE if it is DNS to
 * a --port and its DNS header is whole, PASS_OTHER if it is not filtered, else NOT_PLAIN.
 */
static __always_inline __u64 plain_port(const struct udp_header *udp, const __u8 *end,
					bool is_filtered)
{
	__u16 port = be16(udp->destination_be);

	if (seldom(!is_filtered || !is_port(port)))
		return CONFIG_XSK || is_address_port(port) ? NOT_PLAIN : PASS_OTHER;
	return seldom((const __u8 *)(udp + 1) + DNS_HEADER > end) ? NOT_PLAIN : CONTINUE;
}

/* Fills in a plain packet; the shared rules for its source were asked. Returns its verdict. */
static __always_inline __u64 plain_packet(struct packet *packet, __u64 traits, __u64 ip_header,
					  __u64 empty, __u64 rule)
{
	packet->traits |= TRAITS_PLAIN | traits;
	packet->network = sizeof(struct ethernet_header);
	packet->transport = sizeof(struct ethernet_header) + ip_header;
	packet->empty = empty;
	packet->rule = rule;
	return action_of(rule) == RULE_DROP ? rule : CONTINUE;
}

static __always_inline __u64 plain_ipv4(const struct ipv4_header *ip, const __u8 *end,
					struct packet *packet)
{
	const struct udp_header *udp = (const struct udp_header *)(ip + 1);
	__u64 rule = NO_RULE;
	__u64 verdict;
	__u64 empty = 0;

	if (ip->version_ihl != IPV4_NO_OPTIONS || ip->protocol != PROTOCOL_UDP ||
	    ip->fragment_be & be16(FRAGMENT_OFFSET | FRAGMENT_MORE))
		return NOT_PLAIN;
	verdict = plain_port(udp, end, is_filtered_ipv4(ip->daddr_be));
	if (seldom(verdict != CONTINUE))
		return verdict;
	if (ASKS_PLAIN) {
		empty = empty_among(EMPTY_FOR_V4);
		rule = ipv4_shared_rule(ip, empty);
	}
	return plain_packet(packet, 0, sizeof(*ip), empty, rule);
}

static __always_inline __u64 plain_ipv6(const struct ipv6_header *ip, const __u8 *end,
					struct packet *packet)
{
	const struct udp_header *udp = (const struct udp_header *)(ip + 1);
	__u64 rule = NO_RULE;
	__u64 verdict;
	__u64 empty = 0;

	if ((const __u8 *)(udp + 1) > end || ip->version_class >> 4 != 6 ||
	    ip->next_header != PROTOCOL_UDP)
		return NOT_PLAIN;
	verdict = plain_port(udp, end, is_filtered_ipv6(ip->daddr_be));
	if (seldom(verdict != CONTINUE))
		return verdict;
	if (ASKS_PLAIN) {
		empty = empty_among(EMPTY_FOR_V6);
		rule = ipv6_shared_rule(ip, empty);
	}
	return plain_packet(packet, TRAIT_IPV6, sizeof(*ip), empty, rule);
}

/*
 * A plain DNS packet, and whether the shared rules drop its source: most packets that a flood
 * sends end here, before anything is written to the scratch. Returns a verdict; CONTINUE with
 * `packet`, in which the rule may be one that does not drop; or NOT_PLAIN.
 */
static __always_inline __u64 ask_plain(const struct cursor *cursor, struct packet *packet)
{
	const struct ethernet_header *ethernet = (const struct ethernet_header *)cursor->start;
	const __u8 *ip = (const __u8 *)(ethernet + 1);
	const __u8 *end = cursor->end;

	if (seldom(ip + IPV4_HEADER_MIN + UDP_HEADER > end))
		return NOT_PLAIN;
	if (ethernet->ethertype_be == be16(ETHERTYPE_IPV4))
		return plain_ipv4((const struct ipv4_header *)ip, end, packet);
	if (ethernet->ethertype_be == be16(ETHERTYPE_IPV6))
		return plain_ipv6((const struct ipv6_header *)ip, end, packet);
	return NOT_PLAIN;
}

#endif
