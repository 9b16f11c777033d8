/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sources as keys of source-table, and where they are in the source filter (abi.h). A
 * length is given as the number of its bit in a word of lengths: 0 is an exact address,
 * 1 the prefix of full length, and each bit of the host is one more.
 */
#ifndef XDPCTL_TABLE_SOURCES_H
#define XDPCTL_TABLE_SOURCES_H

#include "table.h"

#define LENGTH4_MAX 33
#define NUMBER4_24  9 /* the number of /24 */
#define LENGTH6_MAX 129
#define NODE_24	    (256 + 24) /* stands for a length: a longer entry is in this /24 */
#define NODE_48	    (256 + 48) /* the same, /48 */
#define NUMBER6_24  (LENGTH6_MAX - 24)
#define NUMBER6_48  (LENGTH6_MAX - 48)

/*
 * Beside a node's word in the filter, in the same line, are the lengths of the entries in it,
 * as in the first two words of lengths6. `number`: of the node's word. Lengths of lengths6[1]
 * that are above /24, and above /48.
 */
#define NODE_LENGTHS(number, i) (((number) ^ ((i) + 1)) & 7)
#define ABOVE_24		(((__u64)1 << (NUMBER6_24 - 64)) - 1)
#define ABOVE_48		(((__u64)1 << (NUMBER6_48 - 64)) - 1)

struct node_lengths {
	__u64 word[2];
};

/* An IPv6 address as two numbers. */
struct address6 {
	__u64 high;
	__u64 low;
};

/* Bits of the host in a prefix with this number. */
static __always_inline __u64 host_bits(__u64 number)
{
	return number - 1 + equals(number, 0);
}

static __always_inline struct sums sums_of_ipv4(const struct table_head *head, __u32 address,
						__u64 number)
{
	struct sums sums = {head->seed_a, head->seed_b};
	__u64 host = host_bits(number) & 63;

	add_halves(&sums, &head->source4_keys, (__u64)address >> host << host, number);
	return sums;
}

/* A number without its `bits` lowest bits, 0 to 64. In two steps: no shift is by 64. */
static __always_inline __u64 without_bits(__u64 number, __u64 bits)
{
	__u64 half = bits / 2;

	return number >> half >> (bits - half) << half << (bits - half);
}

/* The address without its `host` lowest bits, 0 to 128. */
static __always_inline struct address6 without_host(struct address6 address, __u64 host)
{
	__u64 above = host + 64;
	__u64 low;

	opaque(above);
	above >>= 7; /* whether there are 64 or more */
	low = host * (above ^ 1) + 64 * above;
	address.low = without_bits(address.low, low);
	address.high = without_bits(address.high, host - low);
	return address;
}

/* `length`: the number of a length, or a NODE. */
static __always_inline struct sums sums_of_ipv6(const struct table_head *head,
						struct address6 address, __u64 length)
{
	struct sums sums = {head->seed_a, head->seed_b};

	add_word(&sums, &head->source6_keys[0], address.high);
	add_word(&sums, &head->source6_keys[1], address.low);
	add_halves(&sums, &head->source6_keys[2], length, 0);
	return sums;
}

static __always_inline struct sums sums_of_node(const struct table_head *head,
						struct address6 address, __u64 node)
{
	return sums_of_ipv6(head, without_host(address, 128 - (node & 255)), node);
}

static __always_inline __u64 address_shift(__u64 state)
{
	return state >> SOURCES_SHIFT & 31;
}

/* Lines of IPv4 in the filter. */
static __always_inline __u64 address_lines(__u64 state)
{
	return (__u64)1 << (24 - address_shift(state));
}

/* The number of an IPv6 key's word, counted from the first line. */
static __always_inline __u64 word_number(struct sums sums, __u64 state)
{
	return address_lines(state) * 8 + (sums.a >> 32 & (__u32)state);
}

/* An IPv4 entry's bits in its line, and an IPv6 entry's in its word. */
#define BIT_SOURCE(sums)  ((sums).b >> 58)
#define BIT_SOURCE2(sums) ((sums).b >> 52)
#define BIT_SOURCE3(sums) ((sums).b >> 46)

/* Clears the lowest bit of *bits, which is not 0, and returns its number. */
static __always_inline __u64 take_lowest(const struct table_head *head, __u64 *bits)
{
	__u64 lowest = *bits & -*bits;

	*bits ^= lowest;
	return head->bit_numbers[lowest * BIT_NUMBER >> 58];
}

#endif
