/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The DNS message (RFC 1035, 4.1): its header, where the first question's name
 * ends, and that name with its case folded, as the key of a name rule.
 */
#ifndef XDPCTL_DNS_H
#define XDPCTL_DNS_H

#include "platform.h"

#define DNS_HEADER	  12
#define DNS_QR		  0x80 /* first byte of flags */
#define DNS_OPCODE	  0x78
#define DNS_TC		  0x02
#define DNS_RD		  0x01
#define DNS_RA		  0x80 /* second byte */
#define DNS_CD		  0x10
#define DNS_LABEL_MAX	  63
#define DNS_LABELS_MAX	  128 /* 127 of one octet and the root */
#define DNS_QUESTION_REST 4   /* type and class */

struct dns_header {
	__u16 id_be;
	__u8 flags_high;
	__u8 flags_low;
	__u16 qdcount_be;
	__u16 ancount_be;
	__u16 nscount_be;
	__u16 arcount_be;
} WIRE;

_Static_assert(sizeof(struct dns_header) == DNS_HEADER, "DNS header");

/*
 * Octets of the name that starts at `name`, root byte included, or 0: it is not
 * a whole question of labels. Wherever a label may start, the shortest rest of a
 * question must follow (root, type, class), so the end needs no check of its own.
 */
static __always_inline __u64 dns_name_length(const __u8 *name, const __u8 *end)
{
	__u64 offset = 0;
	__u64 length = 1; /* of the label read last: the root's, or there is no whole name */

	for (__u64 i = 0; i < DNS_LABELS_MAX; i++) {
		const __u8 *label = name + offset;

		if (label + 1 + DNS_QUESTION_REST > end)
			break;
		length = *label;
		offset += 1 + length;
		if (length - 1 >= DNS_LABEL_MAX || offset > ABI_NAME_MAX - 1)
			break;
		opaque(offset);
	}
	return length ? 0 : offset;
}

/* A-Z to a-z in eight bytes at once; octets of length stay, they are below 64. */
static __always_inline __u64 dns_fold_case(__u64 word)
{
	const __u64 each = 0x0101010101010101;
	__u64 low = word & 0x7f * each;
	__u64 from_a = low + (0x80 - 'A') * each; /* high bit: 'A' and above */
	__u64 past_z = low + (0x7f - 'Z') * each; /* high bit: above 'Z' */

	return word | (((from_a ^ past_z) & ~word & 0x80 * each) >> 2);
}

/* The first `count` (1..8) bytes in memory are the last `count` of `word`; zeros follow. */
static __always_inline __u64 last_bytes(__u64 word, __u64 count)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return word >> 8 * (8 - count);
#else
	return word << 8 * (8 - count);
#endif
}

/*
 * The sum over the folded name that its place in the index follows from (abi.h).
 * The word that ends with the name's last octet is read whole: it may begin in
 * the DNS header, so nothing behind the name is touched.
 *
 * Args: dns, end: the message and the frame's end; length: of the name, 1..255.
 */
static __always_inline bool dns_sum_name(const __u8 *dns, const __u8 *end, __u64 length, __u64 *sum)
{
	const __u8 *name = dns + DNS_HEADER;
	const __u8 *last = dns + DNS_HEADER - sizeof(__u64) + length;
	__u64 whole = (length - 1) >> 3;
	__u64 factor = INDEX_FACTOR;
	__u64 words = 0;
	__u64 rest;

	if (last + sizeof(__u64) > end)
		return false;
	rest = dns_fold_case(last_bytes(load64(last), length - 8 * whole));
	for (__u64 i = 0; i < 31; i++) {
		const __u8 *from;

		if (i >= whole)
			break;
		opaque(i);
		from = name + 8 * i;
		if (from + sizeof(__u64) > end)
			return false;
		words += dns_fold_case(load64(from)) * factor;
		factor *= INDEX_FACTOR;
	}
	*sum = words + rest * factor;
	return true;
}

/*
 * Puts the folded name into the scratch's key, zero padded; reads as dns_sum_name.
 *
 * Args: dns, end: the message and the frame's end; length: of the name, 1..255.
 */
static __always_inline bool dns_fold_name(struct scratch *scratch, const __u8 *dns, const __u8 *end,
					  __u64 length)
{
	const __u8 *name = dns + DNS_HEADER;
	const __u8 *last = dns + DNS_HEADER - sizeof(__u64) + length;
	__u64 whole = (length - 1) >> 3;
	__u64 rest;

	if (last + sizeof(__u64) > end)
		return false;
	rest = dns_fold_case(last_bytes(load64(last), length - 8 * whole));
	for (int i = 0; i < 32; i++)
		scratch->words[i] = 0;
	for (__u64 i = 0; i < 31; i++) {
		const __u8 *from;

		if (i >= whole)
			break;
		opaque(i);
		from = name + 8 * i;
		if (from + sizeof(__u64) > end)
			return false;
		scratch->words[i & 31] = dns_fold_case(load64(from));
	}
	opaque(whole);
	scratch->words[whole & 31] = rest;
	return true;
}

#endif
