/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cursor: Ethernet, VLAN, IPv4, the IPv6 chain, the ports. Each parser checks
 * that its header is whole, moves the cursor behind it and returns what comes next.
 * Nothing behind the frame's end is read, and no length in a header is trusted, with
 * one exception: a first fragment may end before its frame does. Octets behind that
 * end are padding; the next fragment does not continue from them.
 *
 * Of a frame in several buffers, the end is the first one's. What cannot be read because
 * the packet goes on behind it, is passed.
 */
#ifndef XDPCTL_PACKET_H
#define XDPCTL_PACKET_H

#include "config.h"
#include "verdict.h"

#define ETHERTYPE_IPV4	 0x0800
#define ETHERTYPE_VLAN	 0x8100
#define ETHERTYPE_IPV6	 0x86dd
#define ETHERTYPE_QINQ	 0x88a8
#define VLAN_TAGS_MAX	 2
#define EXTENSIONS_MAX	 6
#define IPV4_HEADER_MIN	 20
#define IPV6_HEADER	 40
#define UDP_HEADER	 8
#define TCP_PORTS	 4
#define FRAGMENT_OFFSET	 0x1fff /* IPv4: 13 low bits */
#define FRAGMENT_MORE	 0x2000
#define FRAGMENT6_OFFSET 0xfff8 /* IPv6: 13 high bits */
#define FRAGMENT6_MORE	 0x0001
#define FRAGMENT_UNIT	 8 /* octets; all fragments but the last are a multiple of it */
#define VLAN_ID		 0x0fff

/* Two tags and six headers of the greatest length end before this offset. */
#define OFFSET_MASK 0x3fff

enum protocol {
	PROTOCOL_HOP_BY_HOP = 0,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_AH = 51,
	PROTOCOL_DESTINATION_OPTIONS = 60,
};

/* Properties of a packet that the parsers found, one bit each. */
enum trait {
	TRAIT_IPV6 = 1 << 0,
	TRAIT_UDP = 1 << 1, /* else TCP */
	TRAIT_VLAN = 1 << 2,
	TRAIT_OPTIONS = 1 << 3,	       /* IPv4 options */
	TRAIT_EXTENSIONS = 1 << 4,     /* IPv6 extension headers */
	TRAIT_FIRST_FRAGMENT = 1 << 5, /* more to come */
	TRAIT_ADDRESS = 1 << 6,	       /* its destination address is in --address */
	TRAIT_FILTERED = 1 << 7,       /* to a --port or --address-port in --address */
	TRAIT_PORT = 1 << 8,	       /* UDP to a --port in --address */
	TRAIT_DESTINATION = 1 << 9,    /* UDP to a registered AF_XDP destination */
	TRAIT_RAGGED = 1 << 10,	       /* first fragment, its data not a multiple of 8 octets */
	TRAIT_BUFFERS = 1 << 11,       /* the frame goes on behind its end, in another buffer */
	TRAIT_CONNECTION = 1 << 12,    /* TCP to a --port in --address, and proofs are wanted */
	TRAIT_ASKED = 1 << 13,	       /* the shared rules for its source were asked */
};

struct ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__u16 ethertype_be;
} WIRE;

struct vlan_tag {
	__u16 control_be;
	__u16 ethertype_be;
} WIRE;

struct ipv4_header {
	__u8 version_ihl;
	__u8 service;
	__u16 total_length_be;
	__u16 id_be;
	__u16 fragment_be;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 saddr_be;
	__u32 daddr_be;
} WIRE;

struct ipv6_header {
	__u8 version_class;
	__u8 class_flow[3];
	__u16 payload_length_be;
	__u8 next_header;
	__u8 hop_limit;
	__u8 saddr_be[16];
	__u8 daddr_be[16];
} WIRE;

/* How every extension header begins, and the whole of a fragment header. */
struct extension_header {
	__u8 next_header;
	__u8 length; /* AH: 4-octet units - 2; fragment: reserved; others: 8-octet units - 1 */
	__u16 fragment_be;
	__u32 fragment_id_be;
} WIRE;

struct udp_header {
	__u16 source_be;
	__u16 destination_be;
	__u16 length_be;
	__u16 checksum;
} WIRE;

_Static_assert(sizeof(struct ethernet_header) == 14, "Ethernet header");
_Static_assert(sizeof(struct ipv4_header) == IPV4_HEADER_MIN, "IPv4 header");
_Static_assert(sizeof(struct ipv6_header) == IPV6_HEADER, "IPv6 header");
_Static_assert(sizeof(struct extension_header) == 8, "IPv6 extension header");
_Static_assert(sizeof(struct udp_header) == UDP_HEADER, "UDP header");

struct cursor {
	__u8 *start;
	__u8 *end;
	__u64 offset; /* bytes from start */
	__u64 size;   /* of the frame, with all its buffers */
};

/* What later stages need: where the headers are, and the packet's traits. */
struct packet {
	__u64 traits; /* enum trait */
	__u64 network;
	__u64 transport;
	__u64 end; /* of a first fragment; any other packet ends with its frame */
	/* With TRAIT_ASKED: EMPTY_BIT of shared maps, and the rule of one of them. */
	__u64 empty;
	__u64 rule;
};

#define DROP_FRAGMENT VERDICT(REASON_FRAGMENT, ACTION_DROP)

/* The cursor's position, or NULL if fewer than `size` bytes are left. */
static __always_inline void *cursor_at(const struct cursor *cursor, __u64 size)
{
	__u8 *position = cursor->start + cursor->offset;

	return position + size <= cursor->end ? position : NULL;
}

static __always_inline __u64 cursor_left(const struct cursor *cursor)
{
	return cursor->end - cursor->start - cursor->offset;
}

static __always_inline bool is_vlan(__u16 ethertype)
{
	return ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ;
}

/*
 * Gives the EtherType behind at most two tags. The kernel removes any number of tags
 * with VID 0, so a packet with three tags, one of them VID 0, could pass unfiltered to a
 * server. No network uses such tags: it is dropped.
 */
static __always_inline __u64 parse_ethernet(struct cursor *cursor, struct packet *packet,
					    __u16 *ethertype)
{
	const struct ethernet_header *ethernet = cursor_at(cursor, sizeof(*ethernet));
	bool has_no_vlan = false;

	if (!ethernet)
		return PASS_OTHER;
	*ethertype = be16(ethernet->ethertype_be);
	cursor->offset += sizeof(*ethernet);
	for (int i = 0; i <= VLAN_TAGS_MAX; i++) {
		const struct vlan_tag *tag;

		if (!seldom(is_vlan(*ethertype)))
			break;
		tag = cursor_at(cursor, sizeof(*tag));
		if (!tag)
			return PASS_OTHER;
		has_no_vlan |= !(tag->control_be & be16(VLAN_ID));
		if (i == VLAN_TAGS_MAX)
			return has_no_vlan ? VERDICT(REASON_MALFORMED, ACTION_DROP) : PASS_OTHER;
		*ethertype = be16(tag->ethertype_be);
		cursor->offset += sizeof(*tag);
		packet->traits |= TRAIT_VLAN;
	}
	return CONTINUE;
}

/* Octets of the first buffer. */
static __always_inline __u64 cursor_room(const struct cursor *cursor)
{
	__u64 room = cursor->end - cursor->start;

	opaque(room);
	return room;
}

/* Whether the packet goes on in another buffer behind `end`, its end in this one. */
static __always_inline bool goes_on(const struct cursor *cursor, __u64 end)
{
	__u64 first = cursor_room(cursor);

	return end >= first && cursor->size > first;
}

/*
 * Notes a first fragment whose data begins at `data`. It ends with the frame or at its
 * IP length, whichever is earlier; in this buffer, not behind it.
 */
static __always_inline void begin_fragments(struct cursor *cursor, struct packet *packet,
					    __u64 ip_end, __u64 data)
{
	__u64 first = cursor_room(cursor);
	__u64 end = ip_end < cursor->size ? ip_end : cursor->size;

	packet->end = end < first ? end : first;
	packet->traits |= TRAIT_FIRST_FRAGMENT;
	if ((end - data) % FRAGMENT_UNIT)
		packet->traits |= TRAIT_RAGGED;
}

static __always_inline __u64 parse_ipv4(struct cursor *cursor, struct packet *packet,
					__u8 *protocol)
{
	const struct ipv4_header *ip = cursor_at(cursor, sizeof(*ip));
	__u64 length;

	if (!ip || ip->version_ihl >> 4 != 4)
		return PASS_OTHER;
	length = (ip->version_ihl & 15) * 4;
	if (length < IPV4_HEADER_MIN)
		return PASS_OTHER;
	if (seldom(length > IPV4_HEADER_MIN)) {
		if (!cursor_at(cursor, length))
			return PASS_OTHER;
		packet->traits |= TRAIT_OPTIONS;
	}
	if (seldom(ip->fragment_be & be16(FRAGMENT_OFFSET | FRAGMENT_MORE))) {
		if (ip->fragment_be & be16(FRAGMENT_OFFSET))
			return VERDICT(REASON_FRAGMENT, ACTION_PASS);
		begin_fragments(cursor, packet, cursor->offset + be16(ip->total_length_be),
				cursor->offset + length);
	}
	if (is_filtered_ipv4(ip->daddr_be))
		packet->traits |= TRAIT_ADDRESS;
	*protocol = ip->protocol;
	cursor->offset += length;
	return CONTINUE;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AH ||
	       protocol == PROTOCOL_DESTINATION_OPTIONS;
}

/* Bytes of an extension header of type `protocol`: RFC 8200 and, for AH, RFC 4302, 2.2. */
static __always_inline __u64 extension_length(const struct extension_header *header, __u8 protocol)
{
	__u64 length = header->length;

	if (protocol == PROTOCOL_FRAGMENT)
		return sizeof(*header);
	return protocol == PROTOCOL_AH ? (length + 2) * 4 : (length + 1) * 8;
}

/* The verdict for a packet with a header that runs over its end. */
static __always_inline __u64 cut_chain(const struct cursor *cursor, const struct scratch *scratch)
{
	return scratch_get(scratch, data) && !goes_on(cursor, scratch_get(scratch, end))
		       ? DROP_FRAGMENT
		       : PASS_OTHER;
}

/*
 * Walks the chain. Its state lives in the scratch map, so that the verifier does not
 * follow each path separately.
 *
 * `ip_end`: where the packet ends by its IP header. In a first fragment all headers must
 * end before that.
 */
static __always_inline __u64 parse_extensions(struct cursor *cursor, struct packet *packet,
					      __u8 *protocol, __u64 ip_end)
{
	struct scratch *scratch = scratch_of_cpu();
	__u64 data;

	if (!scratch)
		return PASS_OTHER;
	scratch_put(scratch, end, ip_end);
	scratch_put(scratch, data, 0);
	scratch_put(scratch, walk, cursor->offset);
	scratch_put(scratch, walk_next, *protocol);
	scratch_put(scratch, traits, packet->traits | TRAIT_EXTENSIONS);
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		const struct extension_header *header;
		__u8 next = scratch_get(scratch, walk_next);
		__u64 length;

		if (!is_extension(next))
			break;
		cursor->offset = scratch_get(scratch, walk) & OFFSET_MASK;
		header = cursor_at(cursor, sizeof(*header));
		if (!header)
			return cut_chain(cursor, scratch);
		length = extension_length(header, next);
		if (next == PROTOCOL_FRAGMENT) {
			__u16 fragment = be16(header->fragment_be);
			__u64 behind = cursor->offset + sizeof(*header);

			if (fragment & FRAGMENT6_OFFSET)
				return scratch_get(scratch, data) &&
						       behind > scratch_get(scratch, end)
					       ? DROP_FRAGMENT
					       : VERDICT(REASON_FRAGMENT, ACTION_PASS);
			if (fragment & FRAGMENT6_MORE && !scratch_get(scratch, data))
				scratch_put(scratch, data, behind);
		}
		if (cursor_left(cursor) < length)
			return cut_chain(cursor, scratch);
		scratch_put(scratch, walk_next, header->next_header);
		scratch_put(scratch, walk, cursor->offset + length);
	}
	packet->traits = scratch_get(scratch, traits);
	data = scratch_get(scratch, data);
	if (data) {
		begin_fragments(cursor, packet, ip_end, data);
		if (scratch_get(scratch, walk) > packet->end)
			return DROP_FRAGMENT;
	}
	*protocol = scratch_get(scratch, walk_next);
	if (is_extension(*protocol))
		return VERDICT(REASON_MALFORMED, ACTION_DROP);
	cursor->offset = scratch_get(scratch, walk) & OFFSET_MASK;
	return CONTINUE;
}

static __always_inline __u64 parse_ipv6(struct cursor *cursor, struct packet *packet,
					__u8 *protocol)
{
	const struct ipv6_header *ip = cursor_at(cursor, sizeof(*ip));

	if (!ip || ip->version_class >> 4 != 6)
		return PASS_OTHER;
	packet->traits |= TRAIT_IPV6;
	if (is_filtered_ipv6(ip->daddr_be))
		packet->traits |= TRAIT_ADDRESS;
	*protocol = ip->next_header;
	cursor->offset += sizeof(*ip);
	if (!seldom(is_extension(*protocol)))
		return CONTINUE;
	return parse_extensions(cursor, packet, protocol,
				cursor->offset + be16(ip->payload_length_be));
}

/* Whether the packet is a first fragment that ends before offset `behind`. */
static __always_inline bool is_cut_off(__u64 traits, __u64 end, __u64 behind)
{
	return seldom(traits & TRAIT_FIRST_FRAGMENT) && behind > end;
}

/*
 * Whether the packet is not whole in the first buffer: it goes on in another one. `end`: of
 * a first fragment.
 */
static __always_inline bool is_cut_by_buffer(const struct xdp_md *ctx, __u64 traits, __u64 end)
{
	if (!(traits & TRAIT_BUFFERS))
		return false;
	return !(traits & TRAIT_FIRST_FRAGMENT) || end >= first_buffer(ctx);
}

/* The verdict for UDP to a server whose DNS header is not whole in the first buffer. */
static __always_inline __u64 no_dns_header(bool is_cut)
{
	return is_cut ? PASS_OTHER : VERDICT(REASON_MALFORMED, ACTION_DROP);
}

/* From the frame's first byte to UDP or TCP; gives the destination port. */
static __always_inline __u64 parse_packet(struct cursor *cursor, struct packet *packet, __u16 *port)
{
	const struct udp_header *transport; /* TCP begins with the same two ports */
	__u16 ethertype;
	__u8 protocol;
	__u64 header;
	__u64 verdict = parse_ethernet(cursor, packet, &ethertype);

	if (verdict != CONTINUE)
		return verdict;
	packet->network = cursor->offset;
	if (ethertype == ETHERTYPE_IPV4)
		verdict = parse_ipv4(cursor, packet, &protocol);
	else if (ethertype == ETHERTYPE_IPV6)
		verdict = parse_ipv6(cursor, packet, &protocol);
	else
		return PASS_OTHER;
	if (verdict != CONTINUE)
		return verdict;
	packet->transport = cursor->offset;
	if (protocol == PROTOCOL_UDP)
		packet->traits |= TRAIT_UDP;
	else if (protocol != PROTOCOL_TCP)
		return PASS_OTHER;
	header = protocol == PROTOCOL_UDP ? UDP_HEADER : TCP_PORTS;
	if (is_cut_off(packet->traits, packet->end, packet->transport + header))
		return goes_on(cursor, packet->end) ? PASS_OTHER : DROP_FRAGMENT;
	if (!CONFIG_TCP && !CONFIG_PROOF && protocol == PROTOCOL_TCP)
		return PASS_OTHER;
	transport = cursor_at(cursor, header);
	if (!transport)
		return PASS_OTHER;
	*port = be16(transport->destination_be);
	return CONTINUE;
}

#endif
