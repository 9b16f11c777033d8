/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The seam: everything that is not plain C over bytes, once for the kernel and once
 * for the host (tests/engines/host.c). All other headers compile for both.
 */
#ifndef XDPCTL_PLATFORM_H
#define XDPCTL_PLATFORM_H

#include "abi.h"

#ifdef XDPCTL_HOST

#include <stdbool.h>
#include <stddef.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Data on the wire has no alignment. */
#define WIRE __attribute__((packed, may_alias))

enum xdp_action {
	XDP_ABORTED = 0,
	XDP_DROP = 1,
	XDP_PASS = 2,
	XDP_TX = 3,
	XDP_REDIRECT = 4,
};

struct xdp_md {
	__u8 *data;
	__u8 *data_end;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u64 size; /* of all buffers */
};

void *map_lookup(enum map_ref map, const void *key);
void *map_lookup_in(void *inner, const void *key);
void *map_value(enum map_ref map);
__u64 jiffies(void);
__u64 clock_nanoseconds(void);
__u32 random_number(void);
__u32 cpu_number(void);
void *ring_reserve(enum map_ref map, __u64 size);
void ring_submit(void *record);
int redirect_to_queue(struct xdp_md *ctx);
int trim_frame(struct xdp_md *ctx, int delta);
__u32 tcp_state(struct xdp_md *ctx, void *ends, __u32 size);

/* What tcp_proof.bpf.c reads of the kernel's context (linux/bpf.h). */
struct bpf_sock_ops {
	__u32 op;
	__u32 args[4];
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 local_port;
	__u32 bpf_sock_ops_cb_flags;
};

enum {
	BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5,
	BPF_SOCK_OPS_STATE_CB = 10,
};

static __always_inline void call_at_changes_of_state(struct bpf_sock_ops *ops)
{
	ops->bpf_sock_ops_cb_flags = 1;
}

static __always_inline __u8 *frame_start(const struct xdp_md *ctx)
{
	return ctx->data;
}

static __always_inline __u8 *frame_end(const struct xdp_md *ctx)
{
	return ctx->data_end;
}

static __always_inline __u64 frame_size(struct xdp_md *ctx)
{
	return ctx->size;
}

#else

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef NULL
#define NULL ((void *)0)
#endif

/* Fields are naturally aligned within their struct; the struct itself may not be. */
#define WIRE __attribute__((may_alias))

/* Helpers by their number in enum bpf_func_id. */
static void *(*const helper_map_lookup_elem)(const void *map, const void *key) = (void *)1;
static __u64 (*const helper_ktime_get_ns)(void) = (void *)5;
static __u32 (*const helper_get_prandom_u32)(void) = (void *)7;
static __u32 (*const helper_get_smp_processor_id)(void) = (void *)8;
static long (*const helper_redirect_map)(const void *map, __u64 key, __u64 flags) = (void *)51;
static long (*const helper_xdp_adjust_tail)(struct xdp_md *ctx, int delta) = (void *)65;
static long (*const helper_sock_ops_cb_flags_set)(struct bpf_sock_ops *ops, int flags) = (void *)59;
static struct bpf_sock *(*const helper_sk_lookup_tcp)(struct xdp_md *ctx, void *tuple, __u32 size,
						      __u64 netns, __u64 flags) = (void *)84;
static long (*const helper_sk_release)(struct bpf_sock *sk) = (void *)86;
static __u64 (*const helper_jiffies64)(void) = (void *)118;
static void *(*const helper_ringbuf_reserve)(const void *map, __u64 size,
					     __u64 flags) = (void *)131;
static void (*const helper_ringbuf_submit)(void *record, __u64 flags) = (void *)132;
static __u64 (*const helper_xdp_get_buff_len)(struct xdp_md *ctx) = (void *)188;

/* A map's entry, or NULL. `map` must be a constant: the loader replaces it. */
static __always_inline void *map_lookup(enum map_ref map, const void *key)
{
	return helper_map_lookup_elem((const void *)bpf_pseudo_fd(1, map), key);
}

/* The same of a map that was looked up in one that holds maps. */
static __always_inline void *map_lookup_in(void *inner, const void *key)
{
	return helper_map_lookup_elem(inner, key);
}

/* The address of the one value of an array map. */
static __always_inline void *map_value(enum map_ref map)
{
	return (void *)bpf_pseudo_fd(2, map);
}

/* The kernel's ticks. This is one load; reading a clock is a call of 12 ns or more. */
static __always_inline __u64 jiffies(void)
{
	return helper_jiffies64();
}

/* CLOCK_MONOTONIC. */
static __always_inline __u64 clock_nanoseconds(void)
{
	return helper_ktime_get_ns();
}

static __always_inline __u32 random_number(void)
{
	return helper_get_prandom_u32();
}

static __always_inline __u32 cpu_number(void)
{
	return helper_get_smp_processor_id();
}

/* Room for a record in a ring buffer, which must be submitted; NULL if there is none. */
static __always_inline void *ring_reserve(enum map_ref map, __u64 size)
{
	return helper_ringbuf_reserve((const void *)bpf_pseudo_fd(1, map), size, 0);
}

/* Lets the reader have the record. It looks by itself, so nobody is woken up. */
static __always_inline void ring_submit(void *record)
{
	helper_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* XDP_REDIRECT to the socket of the frame's receive queue; XDP_PASS if there is none. */
static __always_inline int redirect_to_queue(struct xdp_md *ctx)
{
	return helper_redirect_map((const void *)bpf_pseudo_fd(1, MAP_XSKMAP), ctx->rx_queue_index,
				   XDP_PASS);
}

/*
 * The state (enum bpf_tcp_state) of this namespace's socket for a segment with these ends;
 * 0 if there is none. Of a half-open connection it is the listener's.
 */
static __always_inline __u32 tcp_state(struct xdp_md *ctx, void *ends, __u32 size)
{
	struct bpf_sock *sk = helper_sk_lookup_tcp(ctx, ends, size, BPF_F_CURRENT_NETNS, 0);
	__u32 state;

	if (!sk)
		return 0;
	state = *(volatile __u32 *)&sk->state;
	helper_sk_release(sk);
	return state;
}

/* Asks for a further call whenever the connection's state changes. */
static __always_inline void call_at_changes_of_state(struct bpf_sock_ops *ops)
{
	helper_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* Moves the frame's end by `delta` bytes, which is not positive. Returns 0 on success. */
static __always_inline int trim_frame(struct xdp_md *ctx, int delta)
{
	return helper_xdp_adjust_tail(ctx, delta);
}

static __always_inline __u8 *frame_start(const struct xdp_md *ctx)
{
	return (__u8 *)(long)ctx->data;
}

static __always_inline __u8 *frame_end(const struct xdp_md *ctx)
{
	return (__u8 *)(long)ctx->data_end;
}

/*
 * Octets of all buffers of the frame. Linux before 5.18 has one buffer a frame and no such
 * helper: whoever loads the program puts 0 in the place of the call (loading.py).
 */
static __always_inline __u64 frame_size(struct xdp_md *ctx)
{
	return helper_xdp_get_buff_len(ctx);
}

#endif

/*
 * Hides from the compiler what it knows about x. Otherwise it folds x into another
 * address after a bounds check, or turns a loop over x into pointer steps; the
 * verifier would reject either.
 */
#define opaque(x) asm volatile("" : "+r"(x))

/* Octets of the frame's first buffer: what can be read. */
static __always_inline __u64 first_buffer(const struct xdp_md *ctx)
{
	__u64 size = frame_end(ctx) - frame_start(ctx);

	opaque(size); /* else it is two pointers wherever it is compared */
	return size;
}

/*
 * Octets of the frame: at least those of the first buffer, also where frame_size() is 0.
 * Without a branch, which would be two paths through everything for the verifier.
 */
static __always_inline __u64 whole_size(struct xdp_md *ctx)
{
	__u64 first = first_buffer(ctx);
	__u64 more = frame_size(ctx) - first;
	__u64 negative = more >> 63;

	opaque(negative);
	return first + more * (negative ^ 1);
}

struct unaligned64 {
	__u64 value;
} WIRE;

struct unaligned32 {
	__u32 value;
} WIRE;

struct unaligned16 {
	__u16 value;
} WIRE;

static __always_inline __u64 load64(const void *from)
{
	return ((const struct unaligned64 *)from)->value;
}

static __always_inline __u32 load32(const void *from)
{
	return ((const struct unaligned32 *)from)->value;
}

static __always_inline __u16 load16(const void *from)
{
	return ((const struct unaligned16 *)from)->value;
}

static __always_inline void store64(void *to, __u64 value)
{
	((struct unaligned64 *)to)->value = value;
}

static __always_inline void store32(void *to, __u32 value)
{
	((struct unaligned32 *)to)->value = value;
}

static __always_inline void store16(void *to, __u16 value)
{
	((struct unaligned16 *)to)->value = value;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define be16(x) ((__u16)__builtin_bswap16(x))
#define be32(x) ((__u32)__builtin_bswap32(x))
#define be64(x) ((__u64)__builtin_bswap64(x))
#else
#define be16(x) ((__u16)(x))
#define be32(x) ((__u32)(x))
#define be64(x) ((__u64)(x))
#endif

/*
 * Two numbers of 32 bits as one word, the first at its lower address: keys on the stack are
 * written in whole words.
 */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define TWO_HALVES(first, second) ((__u64)(second) << 32 | (__u32)(first))
#else
#define TWO_HALVES(first, second) ((__u64)(first) << 32 | (__u32)(second))
#endif

/* Words of octets that begin with the least, as SipHash reads them. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define le32(x) ((__u32)(x))
#define le64(x) ((__u64)(x))
#else
#define le32(x) ((__u32)__builtin_bswap32(x))
#define le64(x) ((__u64)__builtin_bswap64(x))
#endif

/* An unlikely condition: its code is placed out of line. */
#define seldom(condition) __builtin_expect(!!(condition), 0)

/* A value that goes through the scratch map is unknown to the verifier afterwards. */
#define scratch_put(scratch, field, value) \
	(*(volatile __typeof__((scratch)->field) *)&(scratch)->field = (value))
#define scratch_get(scratch, field) (*(volatile __typeof__((scratch)->field) *)&(scratch)->field)

static __always_inline struct scratch *scratch_of_cpu(void)
{
	__u32 zero = 0;

	return map_lookup(MAP_SCRATCH, &zero);
}

#endif
