/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sends queries, as one endless live test run (sender.py starts it): the kernel
 * runs this on one frame after the other. A frame that is due becomes the next
 * query and goes out of an interface; one that is not due yet is dropped, which
 * is how time passes. The flood comes in bursts; an honest query, when one is
 * due, takes the place of one of the flood's, another place in each burst, so
 * that it meets what the flood meets. The flood asks for one name a source, or
 * for another name below its zone each time.
 */
#include "platform.h"

#define SOURCES 900
#define HONEST	4096 /* honest queries at most, a power of two */

#define OFFSET_CHECK  24
#define OFFSET_SOURCE 26
#define OFFSET_PORT   34
#define OFFSET_ID     42
#define OFFSET_NAME   54 /* 4 h a a a 5 f l o o d ... */
#define FRAME_LEAST   65

#define SCATTER 0x9e3779b1 /* odd: 2^20 numbers in a row give as many names, in no order */

struct plan {
	__u64 interval_ns;	  /* from one burst to the next; 0: at once */
	__u64 burst;		  /* packets, a power of two; 0 for no flood */
	__u64 honest_interval_ns; /* from one honest query to the next */
	__u64 ifindex;		  /* where they go */
	__u64 flood_sum;	  /* of the IPv4 header without check, source's last half 0 */
	__u64 honest_sum;	  /* of the IPv4 header without check */
	__u64 flood_source;	  /* its first half */
	__u64 honest_source;
	__u64 random; /* not 0: another name each time, not one a source */
	/* from here on the program's own; both due times are set to the start */
	__u64 due_ns;
	__u64 honest_due_ns;
	__u64 left;	   /* of this burst */
	__u64 honest_left; /* an honest query goes out when this many are left */
	__u64 number;	   /* of the next source */
	__u64 sent;	   /* of the flood */
	__u64 honest;	   /* honest queries sent, so many of: */
	__u64 honest_sent_ns[HONEST];
};

static __always_inline void put_be16(__u8 *at, __u32 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static __always_inline void put_check(__u8 *frame, __u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	put_be16(frame + OFFSET_CHECK, ~(sum + (sum >> 16)));
}

/* A label of four letters and digits (base32) from the last 20 bits of a number. */
static __always_inline void put_label(__u8 *at, __u32 number)
{
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		__u8 five = number >> 5 * i & 31;

		at[i] = five < 26 ? 'a' + five : '2' + five - 26;
	}
}

/* What is due now: sets what is left to send, and where the honest query is in it. */
static __always_inline void plan_burst(struct plan *plan, __u64 now)
{
	if (plan->burst && now >= plan->due_ns) {
		plan->due_ns += plan->interval_ns;
		if (plan->due_ns < now) /* late: never faster than asked to catch up */
			plan->due_ns = now;
		plan->left = plan->burst;
	}
	if (now >= plan->honest_due_ns && plan->honest < HONEST && (plan->left || !plan->burst)) {
		plan->honest_due_ns += plan->honest_interval_ns;
		if (plan->honest_due_ns < now)
			plan->honest_due_ns = now;
		plan->honest_left = plan->left ? 1 + (plan->honest * 7 & (plan->burst - 1)) : 1;
		if (!plan->left)
			plan->left = 1;
	}
}

int flood(struct xdp_md *ctx)
{
	static __u64 (*const ktime_get_ns)(void) = (void *)5;
	static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)23;
	__u8 *frame = frame_start(ctx);
	struct plan *plan = (struct plan *)bpf_pseudo_fd(2, 0);
	__u64 number;

	if (frame + FRAME_LEAST > frame_end(ctx))
		return XDP_ABORTED;
	if (!plan->left)
		plan_burst(plan, ktime_get_ns());
	if (!plan->left)
		return XDP_DROP;

	if (plan->left == plan->honest_left) {
		number = plan->honest++ & (HONEST - 1);
		plan->honest_left = 0;
		plan->honest_sent_ns[number] = ktime_get_ns();
		put_be16(frame + OFFSET_SOURCE, plan->honest_source >> 16);
		put_be16(frame + OFFSET_SOURCE + 2, plan->honest_source);
		put_be16(frame + OFFSET_PORT, 9999);
		put_be16(frame + OFFSET_ID, number);
		__builtin_memcpy(frame + OFFSET_NAME, "\4good\5house", 11);
		put_check(frame, plan->honest_sum);
	} else {
		number = plan->number + 1 < SOURCES ? plan->number + 1 : 0;
		plan->number = number;
		plan->sent++;
		put_be16(frame + OFFSET_SOURCE, plan->flood_source);
		put_be16(frame + OFFSET_SOURCE + 2, number);
		put_be16(frame + OFFSET_PORT, 10000 + number);
		put_be16(frame + OFFSET_ID, number);
		__builtin_memcpy(frame + OFFSET_NAME, "\4h", 2);
		if (plan->random) {
			put_label(frame + OFFSET_NAME + 1, plan->sent * SCATTER);
		} else {
			frame[OFFSET_NAME + 2] = 'a' + (number >> 8 & 15);
			frame[OFFSET_NAME + 3] = 'a' + (number >> 4 & 15);
			frame[OFFSET_NAME + 4] = 'a' + (number & 15);
		}
		__builtin_memcpy(frame + OFFSET_NAME + 5, "\5flood", 6);
		put_check(frame, plan->flood_sum + number);
	}
	plan->left--;
	return redirect(plan->ifindex, 0);
}
