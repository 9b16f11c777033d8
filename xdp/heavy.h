/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names are counted by their last two labels, one of HEAVY_SHARE of them, so that the service
 * can say which zone is asked for most, and whether the names below it are many. Each CPU
 * has cells of its own (abi.h, struct heavy_zones).
 */
#ifndef XDPCTL_HEAVY_H
#define XDPCTL_HEAVY_H

#include "zone_names.h"

#define HEAVY_WORDS (HEAVY_TEXT / 8)

/* Word i of an end, so many octets of the folded name from an offset on. */
static __always_inline __u64 word_of_end(const struct scratch *scratch, __u64 first, __u64 length,
					 __u64 i)
{
	__u64 word = load64((const __u8 *)scratch + first + 8 * i);

	if (length - 8 * i < sizeof(__u64))
		word = first_bytes(word, length - 8 * i);
	return word;
}

/* Sums over the folded name from an offset on, into the scratch. */
static __always_inline void sum_end(struct scratch *scratch, const struct zone_head *head,
				    __u64 first, __u64 length)
{
	struct sums sums = {head->seed_a, head->seed_b};

	opaque(length); /* else its bound is the loop's, which older verifiers do not see */
	for (__u64 i = 0; i < HEAVY_WORDS; i++) {
		opaque(i);
		if (8 * i >= length)
			break;
		add_word(&sums, &head->name_keys[i], word_of_end(scratch, first, length, i));
	}
	scratch_put(scratch, heavy_a, sums.a);
	scratch_put(scratch, heavy_b, sums.b);
}

/* Gives a cell to another end. */
static __always_inline void take_cell(struct heavy_cell *cell, const struct scratch *scratch,
				      __u64 first, __u64 length)
{
	__u64 *end = (__u64 *)cell->end;

	cell->length = length;
	opaque(length); /* as above */
	for (__u64 i = 0; i < HEAVY_WORDS; i++) {
		opaque(i);
		if (8 * i >= length)
			break;
		end[i] = word_of_end(scratch, first, length, i);
	}
}

/* Counts the question's name, if it is this CPU's turn. */
static __always_inline void count_end(struct xdp_md *ctx, struct scratch *scratch)
{
	__u32 turn = scratch_get(scratch, heavy_turn) + 1;
	__u64 labels = scratch_get(scratch, labels);
	struct heavy_zones *heavy;
	struct heavy_cell *cell;
	__u32 zero = 0;
	__u64 length;
	__u64 number;
	__u64 front;
	__u64 first;

	scratch_put(scratch, heavy_turn, turn);
	if (turn % HEAVY_SHARE || labels < 2 || !fold_question(ctx, scratch))
		return;
	heavy = map_lookup(MAP_HEAVY_ZONES, &zero);
	if (!heavy)
		return;
	scratch_put(scratch, zone_start, scratch->starts[(labels - 2) & 127]);
	first = scratch_get(scratch, zone_start);
	length = (scratch_get(scratch, name_length) - 1 - first) & 255;
	if (!length || length > HEAVY_TEXT)
		return;
	sum_end(scratch, zone_head(), first, length);
	front = folded_octets(scratch, 0);
	if (first < sizeof(__u64))
		front = first ? first_bytes(front, first) : 0;
	front = (__u64)1 << (front * SPREAD >> 58);
	heavy->names++;
	number = (scratch_get(scratch, heavy_b) >> 32) * HEAVY_CELLS >> 32;
	opaque(number);
	if (number >= HEAVY_CELLS)
		return;
	cell = &heavy->cell[number];
	if (cell->tag == scratch_get(scratch, heavy_a)) {
		cell->count++;
		cell->fronts |= front;
	} else if (cell->count) {
		cell->count--;
	} else {
		cell->tag = scratch_get(scratch, heavy_a);
		cell->count = 1;
		cell->fronts = front;
		take_cell(cell, scratch, first, length);
	}
}

#endif
