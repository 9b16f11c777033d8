/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The question's name for the limits of zones: folded in the scratch, walked from the root
 * on, label by label, and whether a suffix is among the names of a zone that exist (abi.h).
 */
#ifndef XDPCTL_ZONE_NAMES_H
#define XDPCTL_ZONE_NAMES_H

#include "config.h"
#include "dns.h"
#include "packet.h"
#include "table.h"

static __always_inline struct zone_head *zone_head(void)
{
	return map_value(MAP_ZONE_HEAD);
}

/* The first `count` (1..8) bytes in memory of a word; zeros follow. */
static __always_inline __u64 first_bytes(__u64 word, __u64 count)
{
	__u64 others = 8 * (8 - count) & 63;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return word << others >> others;
#else
	return word >> others << others;
#endif
}

/*
 * Folds the question's name into the scratch, where it is read from then on. Returns false
 * if there is no whole question.
 */
static __always_inline bool fold_question(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 name_length = scratch_get(scratch, name_length);
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	const __u8 *dns = frame_start(ctx) + transport + UDP_HEADER;

	if (!name_length)
		return false;
	return dns_fold_name(scratch, dns, frame_end(ctx), name_length);
}

/* Eight octets of the folded name from an offset on. */
static __always_inline __u64 folded_octets(const struct scratch *scratch, __u64 from)
{
	from &= 255;
	opaque(from);
	return load64(scratch->key.name + from);
}

/*
 * Adds the next word of the label, which is word `number` of the name, to the sums in the
 * scratch. Returns whether the label has ended: the sums are those of a suffix.
 */
static __always_inline bool add_label_word(struct scratch *scratch, const struct zone_head *head,
					   __u64 number)
{
	struct sums sums = {scratch_get(scratch, zone_a), scratch_get(scratch, zone_b)};
	__u64 start = scratch_get(scratch, zone_start);
	__u64 left = (scratch_get(scratch, zone_stop) - start) & 255;
	__u64 word = folded_octets(scratch, start);
	bool ends = left <= sizeof(__u64);

	if (ends)
		word = first_bytes(word, left);
	add_word(&sums, &head->name_keys[number], word);
	scratch_put(scratch, zone_a, sums.a);
	scratch_put(scratch, zone_b, sums.b);
	scratch_put(scratch, zone_start, start + sizeof(__u64));
	return ends;
}

/* Goes to a label, given by its number, that ends where the one read before began. */
static __always_inline void go_to_label(struct scratch *scratch, __u64 unit, __u64 stop)
{
	scratch_put(scratch, zone_unit, unit);
	scratch_put(scratch, zone_stop, stop);
	scratch_put(scratch, zone_start, scratch->starts[unit & 127]);
}

/* The tag of the suffix whose sums are in the scratch. */
static __always_inline __u64 suffix_tag(const struct scratch *scratch)
{
	__u64 a = scratch_get(scratch, zone_a);
	__u64 b = scratch_get(scratch, zone_b);

	return (a >> 32 << 32 | b >> 32) & ~(__u64)ZONE_TAG_FLAGS;
}

/* The flags of a tag in a bucket, 0 if it is not there. */
static __always_inline __u64 flags_in(const struct zone_bucket *bucket, __u64 tag)
{
	__u64 flags = 0;

	for (__u64 i = 0; i < ZONE_BUCKET_WORDS; i++) {
		__u64 word = *(const volatile __u64 *)&bucket->word[i];

		flags |= equals(word & ~(__u64)ZONE_TAG_FLAGS, tag) * (word & ZONE_TAG_FLAGS);
	}
	return flags;
}

/*
 * ZONE_NAME_ENTRY and ZONE_NAME_BELOW of the suffix whose sums are in the scratch, among
 * the names of a zone. Where there are none, all exist: an honest name is never missed.
 */
static __always_inline __u64 name_flags(struct scratch *scratch)
{
	const struct zone_names_head *head;
	const struct zone_bucket *bucket;
	void *names = map_lookup(MAP_ZONE_NAMES, &scratch->zone_number);
	__u64 tag = suffix_tag(scratch);
	__u64 flags = 0;
	__u64 numbers;
	__u32 mask;

	if (!names)
		return ZONE_TAG_FLAGS;
	scratch_put(scratch, zone_bucket, 0);
	head = map_lookup_in(names, &scratch->zone_bucket);
	if (!head)
		return ZONE_TAG_FLAGS;
	mask = *(const volatile __u64 *)&head->mask;
	numbers = spread(tag);
	scratch_put(scratch, zone_bucket, 1 + (numbers & mask));
	bucket = map_lookup_in(names, &scratch->zone_bucket);
	if (bucket)
		flags = flags_in(bucket, tag);
	scratch_put(scratch, zone_bucket, 1 + (numbers >> 32 & mask));
	bucket = map_lookup_in(names, &scratch->zone_bucket);
	if (bucket)
		flags |= flags_in(bucket, tag);
	return flags;
}

#endif
