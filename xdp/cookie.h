/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * DNS cookies (RFC 7873, RFC 9018): a query with a cookie that the server made for its source
 * comes from there. The program knows the server's secrets, and computes the hash as the
 * server does: SipHash-2-4 over the client's part, the time and the source's address.
 */
#ifndef XDPCTL_COOKIE_H
#define XDPCTL_COOKIE_H

#include "answer.h"
#include "tally.h"

#define COOKIE_OPTION  10
#define COOKIE_OPTIONS 4    /* of a query that are looked at */
#define COOKIE_VERSION 1    /* RFC 9018, 4.1 */
#define COOKIE_PAST    3600 /* seconds; the same, 4.3 */
#define COOKIE_FUTURE  300
#define OPTION_HEADER  4

/* The option's data: RFC 7873, 4, and RFC 9018, 4. */
struct dns_cookie {
	__u8 client[8];
	__u8 version;
	__u8 reserved[3];
	__u32 time_be;
	__u64 hash;
} WIRE;

_Static_assert(sizeof(struct dns_cookie) == 24, "cookie option");

struct siphash {
	__u64 a;
	__u64 b;
	__u64 c;
	__u64 d;
};

static __always_inline __u64 rotate(__u64 word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static __always_inline void siphash_round(struct siphash *state)
{
	state->a += state->b;
	state->c += state->d;
	state->b = rotate(state->b, 13) ^ state->a;
	state->d = rotate(state->d, 16) ^ state->c;
	state->a = rotate(state->a, 32) + state->d;
	state->c += state->b;
	state->b = rotate(state->b, 17) ^ state->c;
	state->d = rotate(state->d, 21) ^ state->a;
	state->c = rotate(state->c, 32);
}

static __always_inline void siphash_word(struct siphash *state, __u64 word)
{
	state->d ^= word;
	siphash_round(state);
	siphash_round(state);
	state->a ^= word;
}

static __always_inline struct siphash siphash_begin(const volatile __u64 key[2])
{
	return (struct siphash){
		key[0] ^ 0x736f6d6570736575,
		key[1] ^ 0x646f72616e646f6d,
		key[0] ^ 0x6c7967656e657261,
		key[1] ^ 0x7465646279746573,
	};
}

static __always_inline __u64 siphash_end(struct siphash *state)
{
	state->c ^= 0xff;
	for (int i = 0; i < 4; i++)
		siphash_round(state);
	return state->a ^ state->b ^ state->c ^ state->d;
}

/* Whether the time stamp is from an hour ago to five minutes ahead, modulo 2^32. */
static __always_inline bool is_in_time(const struct limits *limits, __u32 stamp)
{
	__u64 now = (jiffies() * limits->cookie_rate + limits->cookie_base) >> 32;
	__u32 age = now + COOKIE_FUTURE - stamp;

	return age <= COOKIE_FUTURE + COOKIE_PAST;
}

/*
 * The offset in the frame of a cookie option's 24 octets, among the first four options of an
 * OPT right behind the question; 0 if there is none. Of several cookies the first counts.
 */
static __always_inline __u64 cookie_place(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	__u64 name_length = scratch_get(scratch, name_length);
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	const struct dns_header *dns;
	const struct opt_record *opt;
	__u64 at;
	__u64 stop;

	if (!name_length || scratch_get(scratch, traits) & TRAIT_FIRST_FRAGMENT)
		return 0;
	opaque(transport);
	dns = (const struct dns_header *)(start + transport + UDP_HEADER);
	if ((const __u8 *)(dns + 1) > end)
		return 0;
	if (dns->qdcount_be != be16(1) || dns->ancount_be || dns->nscount_be || !dns->arcount_be)
		return 0;
	at = transport + UDP_HEADER + DNS_HEADER + name_length + DNS_QUESTION_REST;
	opt = (const struct opt_record *)(start + at);
	if ((const __u8 *)(opt + 1) > end)
		return 0;
	if (opt->root || opt->type_be[0] || opt->type_be[1] != OPT_TYPE)
		return 0;
	at += sizeof(*opt);
	stop = at + (opt->length_be[0] << 8 | opt->length_be[1]);
	if (stop > first_buffer(ctx) || stop > OFFSET_MASK)
		return 0;
	scratch_put(scratch, option, at);
	for (int i = 0; i < COOKIE_OPTIONS; i++) {
		const __u8 *option;
		__u64 length;

		at = scratch_get(scratch, option);
		if (at + OPTION_HEADER > stop)
			return 0;
		option = start + (at & OFFSET_MASK);
		if (option + OPTION_HEADER > end)
			return 0;
		at += OPTION_HEADER;
		length = option[2] << 8 | option[3];
		if (length > stop - at)
			return 0;
		if (!option[0] && option[1] == COOKIE_OPTION)
			return length == sizeof(struct dns_cookie) ? at : 0;
		scratch_put(scratch, option, at + length);
	}
	return 0;
}

/* The hash of a cookie's first 16 octets and the source, with one of the keys; `ip`: header. */
static __always_inline __u64 cookie_hash(const volatile __u64 key[2],
					 const struct dns_cookie *cookie, const __u8 *ip,
					 bool is_ipv6)
{
	struct siphash state = siphash_begin(key);

	siphash_word(&state, le64(load64(cookie->client)));
	siphash_word(&state, le64(load64(&cookie->version)));
	if (is_ipv6) {
		const struct ipv6_header *v6 = (const struct ipv6_header *)ip;

		siphash_word(&state, le64(load64(v6->saddr_be)));
		siphash_word(&state, le64(load64(v6->saddr_be + 8)));
		siphash_word(&state, (__u64)32 << 56);
	} else {
		const struct ipv4_header *v4 = (const struct ipv4_header *)ip;

		siphash_word(&state, (__u64)20 << 56 | le32(v4->saddr_be));
	}
	return le64(siphash_end(&state));
}

/* Whether one of the keys made the cookie at `at` in the frame. */
static __always_inline bool is_sound_cookie(struct xdp_md *ctx, struct scratch *scratch, __u64 at)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	bool is_ipv6 = scratch_get(scratch, traits) & TRAIT_IPV6;
	const struct limits *limits = map_value(MAP_LIMITS);
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	const struct dns_cookie *cookie = (const struct dns_cookie *)(start + (at & OFFSET_MASK));
	const __u8 *ip = start + network;

	if ((const __u8 *)(cookie + 1) > end || ip + IPV6_HEADER > end)
		return false;
	if (cookie->version != COOKIE_VERSION || !is_in_time(limits, be32(cookie->time_be)))
		return false;
	for (__u32 i = 0; i < 2; i++) {
		if (i >= limits->cookie_keys_used)
			break;
		if (cookie_hash(limits->cookie_keys[i], cookie, ip, is_ipv6) == cookie->hash)
			return true;
	}
	return false;
}

/* Whether the query carries a good cookie; counts those that it looked at. */
static __always_inline bool has_good_cookie(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 at = cookie_place(ctx, scratch);
	bool good;

	scratch_put(scratch, option, at);
	at = scratch_get(scratch, option);
	if (!at)
		return false;
	good = is_sound_cookie(ctx, scratch, at);
	tally(ROW_COOKIES, good);
	return good;
}

#endif
