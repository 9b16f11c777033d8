/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Our own tables: the sums of a key, its tag, and the slot that has a tag (abi.h). The
 * filter reads with this, and the table program writes with it: nothing else computes a
 * tag.
 */
#ifndef XDPCTL_TABLE_H
#define XDPCTL_TABLE_H

#include "platform.h"

#define NAME_RULE_TAG(book, scope) ((__u64)((book) << TAG_BOOK | (scope) << TAG_SCOPE | TAG_ENTRY))
#define SOURCE_RULE_TAG		   NAME_RULE_TAG(BOOK_LISTS, ZONE_SELF)

/* The two sums of a key (abi.h). */
struct sums {
	__u64 a;
	__u64 b;
};

static __always_inline struct table_head *table_head(void)
{
	return map_value(MAP_TABLE_HEAD);
}

/* A field of the head that may change at any time. */
#define head_get(head, field) (*(volatile __typeof__((head)->field) *)&(head)->field)

/* Adds one word of a key, given as its two halves, to the sums. */
static __always_inline void add_halves(struct sums *sums, const struct word_keys *keys, __u64 low,
				       __u64 high)
{
	sums->a += (keys->a_low + low) * (keys->a_high + high);
	sums->b += (keys->b_low + low) * (keys->b_high + high);
}

static __always_inline void add_word(struct sums *sums, const struct word_keys *keys, __u64 word)
{
	add_halves(sums, keys, (__u32)word, word >> 32);
}

/* The tag of the sums' key, without book and scope. */
static __always_inline __u64 tag_of(struct sums sums)
{
	return (sums.a >> 32 << 32 | sums.b >> 32) >> TAG_BITS << TAG_BITS;
}

/*
 * Two numbers of 32 bits that a tag's buckets follow from. Names that are counted through
 * have sums at regular distances, and would crowd in some buckets: this breaks that.
 */
static __always_inline __u64 spread(__u64 tag)
{
	tag >>= TAG_BITS;
	tag ^= tag >> 32;
	tag *= SPREAD;
	return tag ^ tag >> 32;
}

static __always_inline __u32 first_bucket(__u64 tag, __u64 mask)
{
	return spread(tag) & mask;
}

static __always_inline __u32 second_bucket(__u64 tag, __u64 mask)
{
	return spread(tag) >> 32 & mask;
}

/* The value at a place of an array, or NULL. */
static __always_inline void *value_at(enum map_ref array, __u32 number, struct scratch *scratch)
{
	scratch_put(scratch, number, number);
	return map_lookup(array, &scratch->number);
}

/* The two buckets of a tag. */
struct bucket_pair {
	struct table_bucket *first;
	struct table_bucket *second;
};

/*
 * Gives the buckets of a tag; false if the table is smaller than its head says. Both are
 * read at once, so that a look-up waits for memory once and not twice.
 */
static __always_inline bool buckets_of(enum map_ref table, __u64 mask, __u64 tag,
				       struct scratch *scratch, struct bucket_pair *pair)
{
	__u64 ahead;

	pair->first = value_at(table, first_bucket(tag, mask), scratch);
	pair->second = value_at(table, second_bucket(tag, mask), scratch);
	if (!pair->first || !pair->second)
		return false;
	ahead = *(volatile __u64 *)&pair->second->slot[0].tag;
	opaque(ahead);
	return true;
}

/* 1 if the numbers are equal, else 0; without a branch, as nobody can foresee it. */
static __always_inline __u64 equals(__u64 one, __u64 other)
{
	__u64 difference = one ^ other;
	__u64 equal = -difference;

	opaque(equal); /* else the compiler makes it a comparison and a branch */
	equal = (difference | equal) >> 63 ^ 1;
	opaque(equal);
	return equal;
}

/*
 * Where a tag is in its two buckets: PLACE_FOUND, the number of the slot, and PLACE_SECOND
 * if it is in the second one.
 */
#define PLACE_FOUND  TABLE_SLOTS
#define PLACE_SECOND (2 * TABLE_SLOTS)
#define AGAIN	     3 /* steps of a search for entries that may have been moving */

/* The place of a tag in a bucket, or 0. No bucket ever has it twice. */
static __always_inline __u64 place_in(const struct table_bucket *bucket, __u64 tag)
{
	__u64 place = 0;

	for (__u64 i = 0; i < TABLE_SLOTS; i++)
		place += equals(*(const volatile __u64 *)&bucket->slot[i].tag, tag) *
			 (PLACE_FOUND + i);
	return place;
}

/* The slot at a place that is in the scratch. */
static __always_inline struct table_slot *found_slot(struct bucket_pair pair,
						     const struct scratch *scratch)
{
	__u64 place = scratch_get(scratch, slot);
	struct table_bucket *bucket = place & PLACE_SECOND ? pair.second : pair.first;

	opaque(place);
	return &bucket->slot[place & (TABLE_SLOTS - 1)];
}

/*
 * Looks an entry up: writes its place to the scratch and returns its value. Without
 * SLOT_USED there is none, or it is not whole yet, or gone: the tag is read again behind the
 * value. If then `moves` of the head has changed, the entry may have been on its way from
 * one bucket to the other: the caller looks it up again.
 *
 * Place and value go through the scratch, so that the verifier follows one path from here.
 */
static __always_inline __u64 find_value(struct bucket_pair pair, __u64 tag, struct scratch *scratch)
{
	__u64 first = place_in(pair.first, tag);
	__u64 second = place_in(pair.second, tag); /* also, for a moment, if it is in the first */
	__u64 value = 0;

	second |= second * 2 & PLACE_SECOND;
	scratch_put(scratch, slot, first | second * (first / PLACE_FOUND ^ 1));
	if (scratch_get(scratch, slot)) {
		const struct table_slot *slot = found_slot(pair, scratch);

		value = *(const volatile __u64 *)&slot->value;
		if (*(const volatile __u64 *)&slot->tag != tag)
			value = 0;
	}
	scratch_put(scratch, value, value);
	return scratch_get(scratch, value);
}

/* Counts a hit of the entry that was found, at once. */
static __always_inline void hit_found(struct bucket_pair pair, const struct scratch *scratch)
{
	struct table_slot *slot = found_slot(pair, scratch);

	__sync_fetch_and_add(&slot->value, (__u64)1 << SLOT_HITS);
}

/* Whether a filter's word has a bit; only the lowest six bits of `bit` count. */
static __always_inline __u64 word_has(__u64 word, __u64 bit)
{
	return word >> (bit & 63) & 1;
}

#endif
