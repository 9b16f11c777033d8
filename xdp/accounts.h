/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The accounts of a source's prefixes (abi.h, "The limits"): where they are, what each has
 * spent, and the writing of what a packet costs. Reading writes nothing that other CPUs see,
 * so that a flood over its limit moves no cache line.
 *
 * The results of each level go through the scratch: the verifier follows one path from
 * there on.
 */
#ifndef XDPCTL_ACCOUNTS_H
#define XDPCTL_ACCOUNTS_H

#include "packet.h"

#define CONFIG_ONE_MORE(level, length) +1
#define LEVELS_V4		       (0 CONFIG_LIMIT_V4(CONFIG_ONE_MORE))
#define LEVELS_V6		       (0 CONFIG_LIMIT_V6(CONFIG_ONE_MORE))
#define LEVELS_MOST		       (LEVELS_V4 > LEVELS_V6 ? LEVELS_V4 : LEVELS_V6)

_Static_assert(LEVELS_MOST <= LIMIT_LEVELS, "too many prefixes have accounts");

#define FLOOD_X 0 /* bucket of anybody's tickets */
#define FLOOD_Y 1 /* of those for proven sources */

#define CELL_NUMBER 0x03
#define CELL_OTHERS 0x04 /* the word has another tag */

#define TARIFF_SECOND sizeof(struct limit_prices)
#define TARIFF_V6     (LIMIT_LEVELS * sizeof(__u64))
#define TARIFF_MASK   (TARIFF_SECOND | TARIFF_V6)

/* A field of the limits that the service may change at any time. */
#define limits_get(limits, field) (*(const volatile __typeof__((limits)->field) *)&(limits)->field)

static __always_inline const struct limits *limits_now(void)
{
	return map_value(MAP_LIMITS);
}

/* Bits of word `number` (of 32 bits, in host order) of an address that are in a prefix. */
#define PREFIX_BITS(length, number)                       \
	((__u32)((length) <= 32 * (number)	  ? 0     \
		 : (length) >= 32 * (number) + 32 ? ~0ULL \
						  : ~0ULL << (32 * (number) + 32 - (length))))

/*
 * Writes where an account is to the scratch: its set, and the tag of its word.
 *
 * `hash`: the sum of its prefix and salt (abi.h), not mixed yet.
 */
static __always_inline void find_account(const struct limits *limits, struct scratch *scratch,
					 int level, __u64 hash)
{
	hash ^= hash >> 32;
	hash *= limits->mix;
	scratch_put(scratch, sets[level], hash >> 40 & limits->sets);
	scratch_put(scratch, tags[level], hash >> 16 & LIMIT_TAG_MASK);
}

/* The set of the account of one level, or NULL. */
static __always_inline struct limit_set *set_of(struct scratch *scratch, int level)
{
	return map_lookup(MAP_LIMIT_CELLS, &scratch->sets[level]);
}

/*
 * Writes where a prefix's plain account is to the scratch, and reads a word of it without use for
 * it: it will be near when it is needed. A CPU without a ticket of the total will hardly need it,
 * and saves the way to the memory.
 *
 * `sum`: of the prefix, from which its other accounts follow (use_account).
 */
static __always_inline void touch(const struct limits *limits, struct scratch *scratch, int level,
				  __u64 sum)
{
	const struct limit_set *set;

	scratch_put(scratch, sums[level], sum);
	find_account(limits, scratch, level, sum + limits->salts[ACCOUNT_PLAIN]);
	if (CONFIG_FLOOD && !scratch_get(scratch, tickets[FLOOD_X]))
		return;
	set = set_of(scratch, level);
	if (set)
		(void)*(const volatile __u64 *)&set->word[0];
}

#define SUM_V4(level, length)                                                           \
	do {                                                                            \
		__u64 sum = (level)*SPREAD + (saddr & PREFIX_BITS(length, 0)) * factor; \
                                                                                        \
		touch(limits, scratch, level, sum);                                     \
	} while (0);

#define SUM_V6(level, length)                                                             \
	do {                                                                              \
		__u64 sum = (level)*SPREAD;                                               \
                                                                                          \
		sum += (high >> 32 & PREFIX_BITS(length, 0)) * limits->factors[1];        \
		sum += (high & PREFIX_BITS(length, 1)) * limits->factors[2];              \
		if ((length) > 64) {                                                      \
			__u64 low = be64(load64(ip->saddr_be + 8));                       \
                                                                                          \
			sum += (low >> 32 & PREFIX_BITS(length, 2)) * limits->factors[3]; \
			sum += (low & PREFIX_BITS(length, 3)) * limits->factors[4];       \
		}                                                                         \
		touch(limits, scratch, level, sum);                                       \
	} while (0);

/*
 * Finds the plain accounts of the source's prefixes, and touches them: the stages until they are
 * read hide the time that memory takes.
 */
static __always_inline void find_accounts(struct xdp_md *ctx, struct scratch *scratch)
{
	const struct limits *limits = limits_now();
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const __u8 *header = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);

	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)header;
		__u64 high;

		if ((const __u8 *)(ip + 1) > end)
			return;
		high = be64(load64(ip->saddr_be));
		(void)high;
		CONFIG_LIMIT_V6(SUM_V6)
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)header;
		__u64 factor = limits->factors[0];
		__u64 saddr;

		if ((const __u8 *)(ip + 1) > end)
			return;
		saddr = be32(ip->saddr_be);
		(void)saddr;
		(void)factor;
		CONFIG_LIMIT_V4(SUM_V4)
	}
}

/* How many of the source's prefixes have an account. */
static __always_inline int levels_of(const struct scratch *scratch)
{
	if (LEVELS_V4 == LEVELS_V6)
		return LEVELS_MOST;
	return scratch_get(scratch, traits) & TRAIT_IPV6 ? LEVELS_V6 : LEVELS_V4;
}

/*
 * Chooses the account that is read and paid from now on. The plain one was found before, and is the
 * first that is chosen.
 */
static __always_inline void use_account(const struct limits *limits, struct scratch *scratch,
					enum limit_account account)
{
	__u64 tariff = account == ACCOUNT_PLAIN ? 0 : TARIFF_SECOND;

	if (scratch_get(scratch, traits) & TRAIT_IPV6)
		tariff |= TARIFF_V6;
	scratch_put(scratch, tariff, tariff);
	if (account == ACCOUNT_PLAIN)
		return;
	for (int level = 0; level < LEVELS_MOST; level++) {
		if (level >= levels_of(scratch))
			break;
		find_account(limits, scratch, level,
			     scratch_get(scratch, sums[level]) + limits->salts[account]);
	}
}

/* What a packet costs the account's prefix of this level. */
static __always_inline __u64 account_price(const struct limits *limits,
					   const struct scratch *scratch, int level)
{
	__u64 tariff = scratch_get(scratch, tariff) & TARIFF_MASK;
	const __u8 *prices = (const __u8 *)limits->prices + tariff;

	return *(const volatile __u64 *)(prices + level * sizeof(__u64))
	       << (scratch_get(scratch, dearer) & 15);
}

/* What a word says is spent, 0 if that is more than `most`. Without a branch. */
static __always_inline __u64 spent_of(__u64 word, __u64 most, __u64 now)
{
	__u64 spent = (word & ~(__u64)LIMIT_TAG_MASK) - now;
	__u64 beyond = (spent | (most - spent)) >> 63; /* `most` is below 2^63 */

	opaque(beyond);
	return spent & (beyond - 1);
}

/* The lesser of two numbers below 2^63. Without a branch. */
static __always_inline __u64 lesser(__u64 a, __u64 b)
{
	__u64 is_less = (a - b) >> 63;

	opaque(is_less);
	return b + ((a - b) & (0 - is_less));
}

/*
 * Finds the account's word of one level, and writes what it has spent to the scratch: the word
 * with its tag, or else the one that has spent least. A flood's words are from anywhere, and so
 * is the least of them: a branch would be guessed wrongly twice a level, each time only after the
 * way to the memory. So the number of the word stands where its tag was, and there is none.
 */
static __always_inline void read_level(const struct limits *limits, struct scratch *scratch,
				       int level)
{
	const struct limit_set *set = set_of(scratch, level);
	__u64 most = limits_get(limits, most);
	__u64 now = scratch_get(scratch, now);
	__u64 tag = scratch_get(scratch, tags[level]);
	__u64 least = ~0ULL >> 1;

	if (!set) { /* refused */
		scratch_put(scratch, spent[level], ~0ULL);
		return;
	}
	for (int i = 0; i < LIMIT_WORDS; i++) {
		__u64 word = *(const volatile __u64 *)&set->word[i];

		if ((word & LIMIT_TAG_MASK) == tag) {
			scratch_put(scratch, spent[level], spent_of(word, most, now));
			scratch_put(scratch, cell[level], i);
			return;
		}
	}
	for (int i = 0; i < LIMIT_WORDS; i++)
		least = lesser(spent_of(*(const volatile __u64 *)&set->word[i], most, now) | i,
			       least);
	scratch_put(scratch, cell[level], (least & CELL_NUMBER) | CELL_OTHERS);
	scratch_put(scratch, spent[level], least & ~(__u64)LIMIT_TAG_MASK);
}

/* Whether the account of every prefix has room for one packet more. */
static __always_inline bool accounts_allow(const struct limits *limits, struct scratch *scratch)
{
	__u64 clock = limits_get(limits, clock);
	__u64 room = limits_get(limits, room);
	int levels = levels_of(scratch);

	if (!clock)
		return true;
	scratch_put(scratch, now, jiffies() * clock & ~(__u64)LIMIT_TAG_MASK);
	for (int level = 0; level < LEVELS_MOST; level++) {
		__u64 spent;

		if (level >= levels)
			break;
		read_level(limits, scratch, level);
		spent = scratch_get(scratch, spent[level]);
		if (spent > room || account_price(limits, scratch, level) > room - spent)
			return false;
	}
	return true;
}

/* Adds the packet's price to every account that was read. */
static __always_inline void pay_accounts(const struct limits *limits, struct scratch *scratch)
{
	__u64 half = limits_get(limits, room) >> 1;
	__u64 now = scratch_get(scratch, now);
	int levels = levels_of(scratch);

	if (!limits_get(limits, clock))
		return;
	for (int level = 0; level < LEVELS_MOST; level++) {
		__u64 price = account_price(limits, scratch, level);
		struct limit_set *set;
		__u64 spent;
		__u64 cell;
		__u64 *word;

		if (level >= levels)
			break;
		set = set_of(scratch, level);
		if (!set)
			break;
		spent = scratch_get(scratch, spent[level]);
		cell = scratch_get(scratch, cell[level]);
		word = &set->word[cell & CELL_NUMBER];
		if (!(cell & CELL_OTHERS) && spent > half)
			__sync_fetch_and_add(word, price);
		else
			*(volatile __u64 *)word =
				(now + spent + price) | scratch_get(scratch, tags[level]);
	}
}

#endif
