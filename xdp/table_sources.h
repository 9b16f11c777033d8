/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sources as keys of source-table, and where they are in the source filter (abi.h). A
 * length is given as the number of its bit in lengths4 or lengths6: 0 is an exact address,
 * 1 the prefix of full length, and each bit of the host is one more.
 */
#ifndef XDPCTL_TABLE_SOURCES_H
#define XDPCTL_TABLE_SOURCES_H

#include "table.h"

#define LENGTH4_MAX 33
#define LENGTH6_MAX 129
#define NODE_32	    (256 + 32) /* stands for a length: a longer entry is in this /32 */
#define NODE_48	    (256 + 48) /* the same, /48 */
#define NUMBER_32   (LENGTH6_MAX - 32)
#define NUMBER_48   (LENGTH6_MAX - 48)

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
	__u64 above = (host >> 6 | host >> 7) & 1; /* whether there are 64 or more */
	__u64 low;

	opaque(above);
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

/* Words of the map of IPv4 addresses, in each half of the filter. */
static __always_inline __u64 address_words(__u64 shift)
{
	return (__u64)1 << (26 - shift);
}

/* The first word of a half, 0 or 1. */
static __always_inline __u64 source_half(__u64 state, __u64 half)
{
	return half * (address_words(address_shift(state)) + (__u32)state + 1);
}

/* The number of a hashed key's word in a half of the source filter, and its two bits. */
static __always_inline __u64 source_number(struct sums sums, __u64 state)
{
	return address_words(address_shift(state)) + (sums.a >> 32 & (__u32)state);
}

#define BIT_SOURCE(sums)  ((sums).b >> 58)
#define BIT_SOURCE2(sums) ((sums).b >> 52)

/* Clears the lowest bit of *bits, which is not 0, and returns its number. */
static __always_inline __u64 take_lowest(const struct table_head *head, __u64 *bits)
{
	__u64 lowest = *bits & -*bits;

	*bits ^= lowest;
	return head->bit_numbers[lowest * BIT_NUMBER >> 58];
}

#endif
