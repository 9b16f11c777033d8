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

static __always_inline __u32 first_bucket(__u64 tag, __u64 mask)
{
	return tag >> 32 & mask;
}

static __always_inline __u32 second_bucket(__u64 tag, __u64 mask)
{
	return (__u32)tag >> TAG_BITS & mask;
}

static __always_inline struct table_bucket *bucket_at(enum map_ref table, __u32 number)
{
	return map_lookup(table, &number);
}

/* The slot of a bucket that has the tag, or NULL. */
static __always_inline struct table_slot *slot_in(struct table_bucket *bucket, __u64 tag)
{
	for (int i = 0; i < TABLE_SLOTS; i++)
		if (*(volatile __u64 *)&bucket->slot[i].tag == tag)
			return &bucket->slot[i];
	return NULL;
}

/*
 * The slot of an entry, or NULL. If `moves` of the head is then another than before, the
 * entry may have been on its way from one bucket to the other: the caller looks again.
 */
static __always_inline struct table_slot *slot_of(enum map_ref table, __u64 mask, __u64 tag)
{
	struct table_bucket *bucket = bucket_at(table, first_bucket(tag, mask));
	struct table_slot *slot;

	if (!bucket)
		return NULL;
	slot = slot_in(bucket, tag);
	if (slot)
		return slot;
	bucket = bucket_at(table, second_bucket(tag, mask));
	return bucket ? slot_in(bucket, tag) : NULL;
}

/*
 * The value of a slot that was found by its tag. 0 if the entry is gone, or is not whole
 * yet: the tag is read again behind the value.
 */
static __always_inline __u64 slot_value(const struct table_slot *slot, __u64 tag)
{
	__u64 value = *(const volatile __u64 *)&slot->value;

	if (*(const volatile __u64 *)&slot->tag != tag || !(value & SLOT_USED))
		return 0;
	return value;
}

/* Counts a hit at once. */
static __always_inline void slot_hit(struct table_slot *slot)
{
	__sync_fetch_and_add(&slot->value, (__u64)1 << SLOT_HITS);
}

/* Whether a filter's word has a bit; only the lowest six bits of `bit` count. */
static __always_inline __u64 word_has(__u64 word, __u64 bit)
{
	return word >> (bit & 63) & 1;
}

#endif
