/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Samples (abi.h, "Samples of packets"): one packet of each block is copied to the ring buffer,
 * as it came in. While nobody looks, this is one load and one branch; while somebody does, a
 * packet that is no sample costs a countdown beside its counter.
 *
 * The frame is copied by loads and stores. A helper would do it faster, and could read any memory
 * of the kernel: the loader lets no program have such a helper (instructions.py).
 */
#ifndef XDPCTL_SAMPLES_H
#define XDPCTL_SAMPLES_H

#include "verdict.h"

#define SAMPLE_WORD 8
#define SAMPLE_ROOM (CONFIG_SAMPLES ? CONFIG_SAMPLES : SAMPLE_WORD)

struct sample_record {
	struct sample head;
	__u8 frame[SAMPLE_ROOM];
};

_Static_assert(SAMPLE_ROOM % SAMPLE_WORD == 0 && SAMPLE_ROOM <= SAMPLE_LENGTH_MAX,
	       "a frame is copied in whole words");

#define state_get(state, field) (*(volatile __typeof__((state)->field) *)&(state)->field)

static __always_inline struct sample_state *sample_state(void)
{
	return map_value(MAP_SAMPLE_STATE);
}

/* A verdict's stratum: what is done by numbers of actions, 0 and 3 are those that go on. */
static __always_inline __u64 stratum_of(__u64 verdict)
{
	return (verdict ^ verdict >> 1) & 1;
}

_Static_assert(ACTION_PASS == 0 && ACTION_DROP == 1 && ACTION_TRUNCATE == 2 &&
		       ACTION_REDIRECT == 3 && (int)STRATUM_TAKEN == 1,
	       "the strata of actions");

/* Begins a block of so many packets as the shift says, `before` packets from now. */
static __always_inline void begin_block(struct sampling *own, __u64 stratum, __u64 shift,
					__u32 before)
{
	__u64 size = (__u64)1 << (shift & 31);
	__u32 place = random_number() & (size - 1);

	own->left[stratum] = before + place;
	own->rest[stratum] = size - 1 - place;
	own->weight[stratum] = size;
}

/* The shift of this CPU's next block. */
static __always_inline volatile __u32 *next_shift(struct sample_state *state, __u64 stratum)
{
	return &state->cpu[cpu_number() & (SAMPLE_CPUS - 1)].shift[stratum];
}

/* Takes what a sample costs from the budget; beyond it, the next blocks are twice as long. */
static __always_inline __u64 pay_sample(struct sample_state *state, __u64 stratum)
{
	volatile __u64 *until = &state->bucket[stratum].until;
	volatile __u32 *shift = next_shift(state, stratum);
	__u64 now = jiffies() << SAMPLE_TIME_SHIFT;
	__u64 price = state_get(state, prices[stratum]);
	__u64 spent = *until - now;
	__u64 next = *shift;

	if ((__s64)spent <= 0) {
		*until = now + price;
		return next;
	}
	__sync_fetch_and_add(&state->bucket[stratum].until, price);
	if (spent > state_get(state, rooms[stratum]) && next < SAMPLE_SHIFT_MAX)
		*shift = ++next;
	return next;
}

/* Begins the blocks of an epoch. */
static __always_inline void begin_epoch(struct sampling *own, struct sample_state *state,
					__u64 epoch)
{
	own->epoch = epoch;
	own->begun = jiffies();
	begin_block(own, STRATUM_PASSED, *next_shift(state, STRATUM_PASSED), 0);
	begin_block(own, STRATUM_TAKEN, *next_shift(state, STRATUM_TAKEN), 0);
}

/*
 * Copies so many octets of the frame, 14 at least, in words. The last word comes first: behind the
 * loop Linux 6.1 has bounds for it that contradict each other.
 */
static __always_inline void copy_frame(struct xdp_md *ctx, struct sample_record *record,
				       __u64 octets)
{
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	__u64 last = octets - SAMPLE_WORD;
	const __u8 *from;

	opaque(last); /* else it is compared as `octets` */
	if (last > SAMPLE_ROOM - SAMPLE_WORD)
		return;
	from = start + last;
	opaque(from);
	if (from + SAMPLE_WORD > end)
		return;
	store64(record->frame + last, load64(from));
	for (__u64 at = 0; at < SAMPLE_ROOM; at += SAMPLE_WORD) {
		from = start + at;
		opaque(from);
		if (at > last || from + SAMPLE_WORD > end)
			break;
		store64(record->frame + at, load64(from));
	}
}

/* Labels of the zone that decided. */
static __always_inline __u8 depth_of(__u64 reason)
{
	const struct scratch *scratch = scratch_of_cpu();

	if (!scratch)
		return SAMPLE_DEPTH_NONE;
	if (CONFIG_TABLES && (reason == REASON_ZONE || reason == REASON_LIST_NAME))
		return scratch_get(scratch, depth);
	if (CONFIG_ZONE_LIMITS && reason == REASON_ZONE_LIMIT)
		return scratch_get(scratch, zone_depth);
	return SAMPLE_DEPTH_NONE;
}

/* Writes the sample. */
static __always_inline void write_sample(struct xdp_md *ctx, struct sampling *own, __u64 verdict,
					 __u32 weight)
{
	struct sample_record *record = ring_reserve(MAP_SAMPLES, sizeof(*record));
	__u64 octets = first_buffer(ctx);

	if (!record) {
		own->lost++;
		return;
	}
	if (octets > SAMPLE_ROOM)
		octets = SAMPLE_ROOM;
	record->head.time = clock_nanoseconds();
	record->head.ifindex = ctx->ingress_ifindex;
	record->head.weight = weight;
	record->head.length = whole_size(ctx);
	record->head.captured = octets;
	record->head.verdict = verdict;
	record->head.depth = depth_of(reason_of(verdict));
	copy_frame(ctx, record, octets);
	ring_submit(record);
}

/* A packet that begins an epoch, or is a sample, or both. */
static __always_inline void take_sample(struct xdp_md *ctx, struct sampling *own, __u64 epoch,
					__u64 verdict)
{
	struct sample_state *state = sample_state();
	__u64 stratum = stratum_of(verdict);
	__u32 weight;

	if (own->epoch != epoch)
		begin_epoch(own, state, epoch);
	if (own->left[stratum]) {
		own->left[stratum]--;
		return;
	}
	weight = own->weight[stratum];
	begin_block(own, stratum, pay_sample(state, stratum), own->rest[stratum]);
	if (jiffies() - own->begun > state_get(state, patience))
		state_get(state, epoch) = 0;
	write_sample(ctx, own, verdict, weight);
}

/* Counts a packet with this verdict among those of which samples are taken. */
static __always_inline void sample(struct xdp_md *ctx, struct counters *counters, __u64 verdict)
{
	struct sampling *own = (struct sampling *)counters->cell[SAMPLE_ROW];
	__u64 epoch = state_get(sample_state(), epoch);
	__u64 stratum = stratum_of(verdict);
	__u32 left;

	if (!seldom(epoch))
		return;
	left = own->left[stratum];
	if (seldom(own->epoch != epoch || !left))
		take_sample(ctx, own, epoch, verdict);
	else
		own->left[stratum] = left - 1;
}

/* The same for a query that is about to become its answer. */
static __always_inline void sample_before_answer(struct xdp_md *ctx, __u64 verdict)
{
	__u32 zero = 0;
	struct counters *counters = map_lookup(MAP_COUNTERS, &zero);

	if (counters)
		sample(ctx, counters, verdict);
}

#endif
