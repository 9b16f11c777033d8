/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The table limit-proven: who has shown, by a TCP connection or by the operator's word, that
 * its packets really come from its address. Read and written by the filter, by the program
 * that sees connections of containers (tcp_proof.bpf.c) and by the service
 * (xdpctl/limits/proven.py).
 *
 * A line has eight words; a source is in one line only. A word is a tag of 40 bits, of which
 * the lowest is 1, above the time of the proof, 24 bits in units of 256 ticks. The oldest
 * word of a line gives way to a new one. A word of 0 is nobody's. A source of IPv6 is its /56:
 * whoever has a /48 has 256 entries then, and not all of the table.
 *
 *   h    = address * proven_keys[0]                               (IPv4, host order)
 *   h    = (56 bits' lower 32) * proven_keys[1] + (upper 24) * proven_keys[2]      (IPv6)
 *   h   += proven_keys[3];  h ^= h >> 32;  h *= proven_mix
 *   line = h >> proven_shift;  tag = (h >> 1 & (2^40 - 1)) | 1
 *
 * Two sources that nobody chose by the keys, which are secret, have one word with a
 * probability of 2^-39 a line's word.
 */
#ifndef XDPCTL_PROVEN_H
#define XDPCTL_PROVEN_H

#include "platform.h"

#define PROVEN_WORDS	  8 /* in a line */
#define PROVEN_TAG_BITS	  40
#define PROVEN_TIME_SHIFT 24
#define PROVEN_TICK_SHIFT 8 /* a unit of time is 256 ticks */
#define PROVEN_TIME_MASK  ((1 << PROVEN_TIME_SHIFT) - 1)
#define PROVEN_NEVER	  ((__u64)1 << PROVEN_TIME_SHIFT) /* an age: not in the table */

static __always_inline __u64 proven_mixed(const struct limits *limits, __u64 sum)
{
	sum += limits->proven_keys[3];
	sum ^= sum >> 32;
	return sum * limits->proven_mix;
}

/* The hash of a source; `saddr` in host order. */
static __always_inline __u64 proven_hash_ipv4(const struct limits *limits, __u32 saddr)
{
	return proven_mixed(limits, saddr * limits->proven_keys[0]);
}

/* The same; `high`: the upper half of the address in host order. */
static __always_inline __u64 proven_hash_ipv6(const struct limits *limits, __u64 high)
{
	high >>= 8;
	return proven_mixed(limits, (high & 0xffffffff) * limits->proven_keys[1] +
					    (high >> 32) * limits->proven_keys[2]);
}

static __always_inline __u64 proven_tag(__u64 hash)
{
	return (hash >> 1 & (((__u64)1 << PROVEN_TAG_BITS) - 1)) | 1;
}

static __always_inline __u64 proven_now(void)
{
	return jiffies() >> PROVEN_TICK_SHIFT & PROVEN_TIME_MASK;
}

static __always_inline struct proven_line *proven_line_of(const struct limits *limits, __u64 hash)
{
	__u32 number = hash >> (limits->proven_shift & 63);

	return map_lookup(MAP_LIMIT_PROVEN, &number);
}

/* How long ago the source was proven, in 256 ticks; PROVEN_NEVER if it is not in the table. */
static __always_inline __u64 proven_age(const struct limits *limits, __u64 hash)
{
	const volatile struct proven_line *line = proven_line_of(limits, hash);
	__u64 tag = proven_tag(hash);

	if (!line)
		return PROVEN_NEVER;
	for (int i = 0; i < PROVEN_WORDS; i++) {
		__u64 word = line->word[i];

		if (word >> PROVEN_TIME_SHIFT == tag)
			return (proven_now() - word) & PROVEN_TIME_MASK;
	}
	return PROVEN_NEVER;
}

/* Whether the source is proven now. */
static __always_inline bool is_proven(const struct limits *limits, __u64 hash)
{
	return proven_age(limits, hash) < limits->proven_lifetime;
}

/*
 * Whether the source was proven in the last quarter of a lifetime, so that a further proof
 * can wait; also where nobody is ever proven.
 */
static __always_inline bool is_newly_proven(const struct limits *limits, __u64 hash)
{
	return !limits->proven_lifetime || proven_age(limits, hash) < limits->proven_lifetime / 4;
}

/* Writes that the source is proven from now on, in the place of its own word or the oldest. */
static __always_inline void prove(const struct limits *limits, __u64 hash)
{
	volatile struct proven_line *line = proven_line_of(limits, hash);
	__u64 tag = proven_tag(hash);
	__u64 now = proven_now();
	__u64 oldest = 0;
	__u64 slot = 0;

	if (!line)
		return;
	for (__u64 i = 0; i < PROVEN_WORDS; i++) {
		__u64 word = line->word[i];
		__u64 age = word ? (now - word) & PROVEN_TIME_MASK : PROVEN_NEVER;

		if (word >> PROVEN_TIME_SHIFT == tag) {
			slot = i;
			break;
		}
		if (age > oldest) {
			oldest = age;
			slot = i;
		}
	}
	opaque(slot);
	line->word[slot & (PROVEN_WORDS - 1)] = tag << PROVEN_TIME_SHIFT | now;
}

#endif
