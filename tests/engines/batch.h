/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Many frames of one scene, and what must come of each: what batch.py writes, and
 * host.c and kernel_batch.c hold their engine to. Decides nothing about packets but
 * what holds for every one.
 */
#ifndef XDPCTL_BATCH_H
#define XDPCTL_BATCH_H

#include <stdbool.h>
#include <string.h>

#define BATCH_KEY_MAX 264
#define BATCH_RULES   256
#define NO_HIT	      (-1)
#define VERDICT_TX    3

struct expected {
	__u32 size; /* octets of the frame */
	__s32 verdict;
	__u32 reason;
	__u32 action;
	__s32 hit;	   /* index of the rule that gains one; NO_HIT */
	__u32 answer_size; /* octets of the answer; 0: left as it was */
};

#define NO_SLOT (-1)

struct place {
	__u32 map;  /* a map_ref, or the descriptor of a map */
	__s32 slot; /* of the bucket that has the key as its number; NO_SLOT: not in a table */
	__u8 key[BATCH_KEY_MAX];
};

/* A rule in a bucket of our own tables, as one in the shared maps would be. */
static struct rule_value rule_of_slot(const struct table_bucket *bucket, int slot)
{
	__u64 value = bucket->slot[slot].value;

	return (struct rule_value){.hits = value >> SLOT_HITS, .action = value & SLOT_ACTION};
}

struct batch {
	const struct expected *expected;
	const __u8 *frames;  /* end to end */
	const __u8 *answers; /* end to end */
	const struct place *places;
	__u32 count;
	__u32 rules;
};

/*
 * Whether `out` is what must be left of a frame: itself, unless it was answered, and
 * never more than itself, whatever is expected; then what is expected.
 */
static bool left_as_expected(const struct expected *expected, int verdict, const __u8 *frame,
			     const __u8 *answer, const __u8 *out, size_t out_size)
{
	const __u8 *wanted = expected->answer_size ? answer : frame;
	size_t size = expected->answer_size ? expected->answer_size : expected->size;

	if (verdict != VERDICT_TX && (out_size != expected->size || memcmp(out, frame, out_size)))
		return false;
	if (out_size > expected->size || verdict != expected->verdict)
		return false;
	return out_size == size && !memcmp(out, wanted, size);
}

#endif
