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

/*
 * The numbers, a bit each, of the prefix lengths of which a line has entries and the
 * address's three bits.
 *
 * All lengths that exist are gone through, not only those of the line, and without a branch
 * for what the line has. So the processor does all this while it waits for the line, and
 * has nothing to guess when it is there.
 */
static __always_inline __u64 lengths_in_line(const struct table_head *head,
					     const struct source_line *line, __u64 address)
{
	__u64 lengths = head_get(head, lengths4) & ~(__u64)1;
	__u64 found = 0;

	for (int i = 0; i < LENGTH4_MAX && lengths; i++) {
		__u64 number = take_lowest(head, &lengths);

		found |= line_has(line, sums_of_ipv4(head, address, number)) << (number & 63);
	}
	return found & line->lengths;
}

/*
 * Begins to read the buckets of a source's /24, the most frequent prefix in lists, if there
 * are any: the processor then waits for them and for the line at once.
 */
static __always_inline void read_ahead(struct scratch *scratch, const struct table_head *head,
				       __u64 address)
{
	__u64 tag = tag_of(sums_of_ipv4(head, address, NUMBER4_24)) | SOURCE_RULE_TAG;
	struct bucket_pair pair;
	__u64 ahead;

	if (!buckets_of(MAP_SOURCE_TABLE, head_get(head, source_buckets), tag, scratch, &pair))
		return;
	ahead = *(volatile __u64 *)&pair.first->slot[0].tag;
	opaque(ahead);
}

/* Lengths are the numbers of their bits. */
static __always_inline __u64 ipv4_list_rule(struct scratch *scratch, const struct table_head *head,
					    const struct ipv4_header *ip)
{
	__u64 state = head_get(head, sources);
	__u64 moves = head_get(head, moves);
	__u64 address = be32(ip->saddr_be);
	const struct source_line *line;
	struct sums sums;
	__u64 place;
	__u64 rule;

	if (!(state & SOURCES_V4))
		return NO_RULE;
	place = address >> address_shift(state);
	line = value_at(MAP_SOURCE_FILTER, place >> 8, scratch);
	if (!line || !seldom(word_has(line->map[place >> 6 & 3], place)))
		return NO_RULE;
	sums = sums_of_ipv4(head, address, 0);
	if (line->lengths & line_has(line, sums)) { /* bit 0: exact addresses */
		rule = ask_for_source(scratch, head, sums);
		if (rule != NO_RULE)
			return rule;
	}
	if (head_get(head, lengths4) >> NUMBER4_24 & 1)
		read_ahead(scratch, head, address);
	scratch_put(scratch, lengths, lengths_in_line(head, line, address));
	if (seldom(moves != head_get(head, moves))) /* an entry may have been moving */
		scratch_put(scratch, lengths, scratch_get(scratch, lengths) | 1);
	for (int i = 0; i < LENGTH4_MAX + AGAIN; i++) {
		__u64 lengths = scratch_get(scratch, lengths);

		if (!lengths)
			break;
		moves = head_get(head, moves);
		sums = sums_of_ipv4(head, address, take_lowest(head, &lengths));
		rule = ask_for_source(scratch, head, sums);
		if (rule != NO_RULE)
			return rule;
		if (moves == head_get(head, moves)) /* else the same length again */
			scratch_put(scratch, lengths, lengths);
	}
	return NO_RULE;
}

/*
 * Prepares the sums of an address's prefixes. One word of each is whole or empty: the upper
 * one of those that have a bit of the lower, the lower one of all others.
 */
static __always_inline void put_parts(struct scratch *scratch, const struct table_head *head,
				      struct address6 address)
{
	struct sums of_upper = {head->seed_a, head->seed_b};
	struct sums of_none = of_upper;

	add_word(&of_upper, &head->source6_keys[0], address.high);
	add_word(&of_none, &head->source6_keys[1], 0);
	scratch->parts[0] = (struct source_part){of_upper.a, of_upper.b, address.low};
	scratch->parts[1] = (struct source_part){of_none.a, of_none.b, address.high};
	scratch->parts[2] = (struct source_part){of_none.a, of_none.b, 0};
}

/* As sums_of_ipv6 of the address without its `host` lowest bits, by its parts. */
static __always_inline struct sums sums_of_part(const struct scratch *scratch,
						const struct table_head *head, __u64 host,
						__u64 length)
{
	const struct source_part *part = &scratch->parts[host >> 6 & 3];
	const struct word_keys *keys = &head->source6_keys[equals(host >> 6 & 3, 0)];
	struct sums sums = {part->a, part->b};

	host &= 63;
	add_word(&sums, keys, part->word >> host << host);
	add_halves(&sums, &head->source6_keys[2], length, 0);
	return sums;
}

/* The line of the filter with the word of an IPv6 key, and the word's number in it; or NULL. */
static __always_inline const __u64 *line_of_ipv6(struct scratch *scratch, __u64 state,
						 struct sums sums, __u64 *word)
{
	__u64 number = word_number(sums, state);
	const __u64 *line;

	opaque(number);
	line = value_at(MAP_SOURCE_FILTER, number >> 3, scratch);
	*word = number & 7;
	return line;
}

/* 1 if a word of the filter has the two bits of an IPv6 entry or node, else 0. */
static __always_inline __u64 word_has_source(__u64 word, struct sums sums)
{
	return word_has(word, BIT_SOURCE(sums)) & word_has(word, BIT_SOURCE2(sums));
}

static __always_inline __u64 may_have_source(struct scratch *scratch, __u64 state, struct sums sums)
{
	__u64 number;
	const __u64 *line = line_of_ipv6(scratch, state, sums, &number);

	return line ? word_has_source(line[number], sums) : 0;
}

/* The lengths of the entries in a node; none if there is no such node. */
static __always_inline struct node_lengths lengths_in_node(struct scratch *scratch, __u64 state,
							   struct sums sums)
{
	struct node_lengths lengths = {};
	__u64 number;
	const __u64 *line = line_of_ipv6(scratch, state, sums, &number);

	if (line && word_has_source(line[number], sums)) {
		lengths.word[0] = line[NODE_LENGTHS(number, 0)];
		lengths.word[1] = line[NODE_LENGTHS(number, 1)];
	}
	return lengths;
}

/*
 * Writes the lengths that may have a rule for an address to the scratch: of those above /48
 * and above /24, what the nodes know. Those of lengths6[2] need no word.
 */
static __always_inline void find_lengths6(struct scratch *scratch, const struct table_head *head,
					  __u64 state)
{
	struct node_lengths near =
		lengths_in_node(scratch, state, sums_of_part(scratch, head, 128 - 24, NODE_24));

	scratch_put(scratch, lengths, near.word[0]);
	scratch_put(scratch, found, near.word[1]);
	near.word[0] = scratch_get(scratch, lengths);
	near.word[1] = scratch_get(scratch, found);
	if (near.word[0] | near.word[1]) {
		__u64 above_24 = near.word[1] & ABOVE_24 & ~ABOVE_48;

		near = lengths_in_node(scratch, state,
				       sums_of_part(scratch, head, 128 - 48, NODE_48));
		near.word[1] = above_24 | (near.word[1] & ABOVE_48);
	}
	near.word[1] |= ~ABOVE_24;
	scratch_put(scratch, lengths, near.word[0] & head_get(head, lengths6[0]));
	scratch_put(scratch, found, near.word[1] & head_get(head, lengths6[1]));
}

/* As for IPv4, but the nodes of the source know which lengths are near. */
static __always_inline __u64 ipv6_list_rule(struct scratch *scratch, const struct table_head *head,
					    const struct ipv6_header *ip)
{
	__u64 state = head_get(head, sources);
	struct address6 address = {be64(load64(ip->saddr_be)), be64(load64(ip->saddr_be + 8))};

	if (!(state & SOURCES_V6))
		return NO_RULE;
	put_parts(scratch, head, address);
	find_lengths6(scratch, head, state);
	scratch_put(scratch, base, 0);
	for (int i = 0; i < LENGTH6_MAX + 3 + AGAIN; i++) {
		__u64 lengths = scratch_get(scratch, lengths);
		__u64 moves = head_get(head, moves);
		__u64 base = scratch_get(scratch, base);
		struct sums sums;
		__u64 number;
		__u64 rule;

		if (!lengths) { /* the next word of lengths */
			if (base > 64)
				break;
			scratch_put(scratch, base, base + 64);
			scratch_put(scratch, lengths,
				    base ? head_get(head, lengths6[2])
					 : scratch_get(scratch, found));
			continue;
		}
		number = base + take_lowest(head, &lengths);
		sums = sums_of_part(scratch, head, host_bits(number), number);
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

#endif
