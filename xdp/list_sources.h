/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules of lists for sources: the exact address, then the longest prefix. Most sources
 * are ruled out by one line of the filter; what is left is asked for length by length, of
 * those that exist there, if the filter has its bits.
 */
#ifndef XDPCTL_LIST_SOURCES_H
#define XDPCTL_LIST_SOURCES_H

#include "packet.h"
#include "table_sources.h"

#define AGAIN 3 /* steps for entries that may have been moving */

/* A line of the half of the source filter that is in force; NULL if there is none. */
static __always_inline struct source_line *line_in_force(struct scratch *scratch, __u64 state,
							 __u64 number)
{
	return value_at(MAP_SOURCE_FILTER, half_line(state, state >> SOURCES_HALF & 1) + number,
			scratch);
}

/* The rule for a source of one length: a verdict, or NO_RULE. */
static __always_inline __u64 ask_for_source(struct scratch *scratch, const struct table_head *head,
					    struct sums sums)
{
	__u64 tag = tag_of(sums) | SOURCE_RULE_TAG;
	struct bucket_pair pair;
	__u64 value;

	if (!buckets_of(MAP_SOURCE_TABLE, head_get(head, source_buckets), tag, scratch, &pair))
		return NO_RULE;
	value = find_value(pair, tag, scratch);
	if (!(value & SLOT_USED))
		return NO_RULE;
	hit_found(pair, scratch);
	return VERDICT(REASON_LIST_SOURCE, value & SLOT_ACTION);
}

/* 1 if a line has the three bits of an IPv4 entry, else 0. */
static __always_inline __u64 line_has(const struct source_line *line, struct sums sums)
{
	return word_has(line->bits[0], BIT_SOURCE(sums)) &
	       word_has(line->bits[1], BIT_SOURCE2(sums)) &
	       word_has(line->bits[2], BIT_SOURCE3(sums));
}

/* Lengths are the numbers of their bits. An entry that may have been moving is asked again. */
static __always_inline __u64 ipv4_list_rule(struct scratch *scratch, const struct table_head *head,
					    const struct ipv4_header *ip)
{
	__u64 state = head_get(head, sources);
	__u64 address = be32(ip->saddr_be);
	const struct source_line *line;
	__u64 place;

	if (!(state & SOURCES_V4))
		return NO_RULE;
	place = address >> address_shift(state);
	line = line_in_force(scratch, state, place >> 8);
	if (!line || !seldom(word_has(line->map[place >> 6 & 3], place)))
		return NO_RULE;
	scratch_put(scratch, lengths, line->lengths);
	for (int i = 0; i < LENGTH4_MAX + 1 + AGAIN; i++) {
		__u64 lengths = scratch_get(scratch, lengths);
		__u64 moves = head_get(head, moves);
		struct sums sums;
		__u64 rule;

		if (!lengths)
			break;
		sums = sums_of_ipv4(head, address, take_lowest(head, &lengths));
		if (line_has(line, sums)) {
			rule = ask_for_source(scratch, head, sums);
			if (rule != NO_RULE)
				return rule;
			if (moves != head_get(head, moves))
				continue;
		}
		scratch_put(scratch, lengths, lengths);
	}
	return NO_RULE;
}

/* 1 if the filter has the two bits of an IPv6 entry or node, else 0. */
static __always_inline __u64 may_have_source(struct scratch *scratch, __u64 state, struct sums sums)
{
	__u64 number = word_number(sums, state);
	const __u64 *line = (const __u64 *)line_in_force(scratch, state, number >> 3);
	__u64 word;

	if (!line)
		return 0;
	opaque(number);
	word = line[number & 7];
	return word_has(word, BIT_SOURCE(sums)) & word_has(word, BIT_SOURCE2(sums));
}

static __always_inline struct sums sums_of_number6(const struct table_head *head,
						   struct address6 address, __u64 number)
{
	return sums_of_ipv6(head, without_host(address, host_bits(number)), number);
}

/* As for IPv4, but the nodes of the source say which lengths are near. */
static __always_inline __u64 ipv6_list_rule(struct scratch *scratch, const struct table_head *head,
					    const struct ipv6_header *ip)
{
	__u64 state = head_get(head, sources);
	struct address6 address = {be64(load64(ip->saddr_be)), be64(load64(ip->saddr_be + 8))};
	__u64 lowest = 0; /* number of the greatest length that may be there */

	if (!(state & SOURCES_V6))
		return NO_RULE;
	if (!may_have_source(scratch, state, sums_of_node(head, address, NODE_32)))
		lowest = NUMBER_32;
	else if (!may_have_source(scratch, state, sums_of_node(head, address, NODE_48)))
		lowest = NUMBER_48;
	scratch_put(scratch, base, lowest & 64);
	scratch_put(scratch, lengths,
		    head_get(head, lengths6[lowest >> 6 & 1]) >> (lowest & 63) << (lowest & 63));
	for (int i = 0; i < LENGTH6_MAX + 3 + AGAIN; i++) {
		__u64 lengths = scratch_get(scratch, lengths);
		__u64 moves = head_get(head, moves);
		__u64 base = scratch_get(scratch, base);
		struct sums sums;
		__u64 rule;

		if (!lengths) { /* the next word of lengths */
			base += 64;
			if (base > 128)
				break;
			scratch_put(scratch, base, base);
			scratch_put(scratch, lengths, head_get(head, lengths6[base >> 6 & 3]));
			continue;
		}
		sums = sums_of_number6(head, address, base + take_lowest(head, &lengths));
		if (may_have_source(scratch, state, sums)) {
			rule = ask_for_source(scratch, head, sums);
			if (rule != NO_RULE)
				return rule;
			if (moves != head_get(head, moves))
				continue;
		}
		scratch_put(scratch, lengths, lengths);
	}
	return NO_RULE;
}

/* The rule of lists for the packet's source, or NO_RULE. */
static __always_inline __u64 list_source_rule(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const struct table_head *head = table_head();
	const __u8 *ip = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);

	if (!(head_get(head, sources) & (SOURCES_V4 | SOURCES_V6)))
		return NO_RULE;
	if (scratch_get(scratch, traits) & TRAIT_IPV6)
		return ip + IPV6_HEADER <= end
			       ? ipv6_list_rule(scratch, head, (const struct ipv6_header *)ip)
			       : NO_RULE;
	return ip + IPV4_HEADER_MIN <= end
		       ? ipv4_list_rule(scratch, head, (const struct ipv4_header *)ip)
		       : NO_RULE;
}

#endif
