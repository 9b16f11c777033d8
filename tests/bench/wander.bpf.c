/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes every run of a program test run another packet, and goes on into the
 * program that is timed: entry number FIRST to LAST of the map that is grown, at
 * random, as an address or as seven hexadecimal digits of a name. Without that
 * one entry would stay in the cache however large the map is. Nor may a run begin
 * while the one before still waits for memory, which a driver's work keeps apart:
 * reading the clock waits for that (without it the sample program, being shorter,
 * seemed 140 ns cheaper per miss of the cache).
 *
 *   WANDER_OFFSET   of the four octets of address, or of the digits, in the frame
 *   WANDER_BASE, WANDER_SHIFT   address of entry number n: BASE + (n << SHIFT)
 *   WANDER_NAME     1: digits
 *   WANDER_SCATTER  1: address of entry number n: n * SCATTER, anywhere in IPv4
 *   WANDER_SOURCE   other than 0: the offset of an address, of which every run has
 *                   another one, too, beside the name
 */
#include "platform.h"

#define MAP_STATE    13
#define MAP_PROGRAMS 14
#define DIGITS	     7
#define SCATTER	     0x9e3779b1u /* odd, so that no two numbers have one address */

struct state {
	__u64 random;
	__u64 first;
	__u64 count;
	__u64 fence;
};

static long (*const helper_tail_call)(void *ctx, const void *map, __u64 index) = (void *)12;

int wander(struct xdp_md *ctx)
{
	struct state *state = (struct state *)bpf_pseudo_fd(2, MAP_STATE);
	__u8 *place = frame_start(ctx) + WANDER_OFFSET;
	__u64 number;

	if (place + 8 > frame_end(ctx))
		return XDP_ABORTED;
	state->random = state->random * 6364136223846793005 + 1442695040888963407;
	number = state->first + ((state->random >> 32) * state->count >> 32);
	if (WANDER_NAME) {
		for (int i = DIGITS - 1; i >= 0; i--) {
			__u8 digit = number & 15;

			place[i] = digit + (digit < 10 ? '0' : 'a' - 10);
			number >>= 4;
		}
	} else if (WANDER_SCATTER) {
		store32(place, be32((__u32)(number * SCATTER)));
	} else {
		store32(place, be32((__u32)(WANDER_BASE + (number << WANDER_SHIFT))));
	}
	if (WANDER_SOURCE) {
		place = frame_start(ctx) + WANDER_SOURCE;
		if (place + 4 > frame_end(ctx))
			return XDP_ABORTED;
		store32(place, be32((__u32)(state->random >> 20)));
	}
	__sync_fetch_and_add(&state->fence, 1); /* all of it is in the cache, as from a card */
	helper_ktime_get_ns();
	helper_tail_call(ctx, (const void *)bpf_pseudo_fd(1, MAP_PROGRAMS), 0);
	return XDP_ABORTED;
}
