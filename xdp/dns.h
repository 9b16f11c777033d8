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
#define DNS_OPCODE_PAIR	  0x70 /* all of an OPCODE but its lowest bit */
#define DNS_NOTIFY_UPDATE 0x20 /* 4 and 5 */
#define DNS_TC		  0x02
#define DNS_RD		  0x01
#define DNS_RA		  0x80 /* second byte */
#define DNS_CD		  0x10
#define DNS_LABEL_MAX	  63
#define DNS_POINTER	  0xc0 /* lowest octet that begins a compression pointer */
#define DNS_POINTER_SIZE  2
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

/* What a walk over a question's name found. */
struct dns_name {
	__u64 length; /* octets up to where the next label would start, root byte included */
	__u64 last;   /* the last length octet that was read; 0 is the root's */
};

/*
 * Walks the labels from `name` on. Where a label starts, one more octet must follow: a
 * root byte is followed by the type, a pointer by its second octet.
 *
 * The step to the next label is one addition after the load, because each load waits for
 * the one before.
 */
static __always_inline struct dns_name dns_walk_name(const __u8 *name, const __u8 *end)
{
	struct dns_name found = {.last = 1};
	const __u8 *behind = name + DNS_POINTER_SIZE;

	for (__u64 i = 0; i < DNS_LABELS_MAX; i++) {
		if (behind > end)
			break;
		found.last = *(behind - DNS_POINTER_SIZE);
		opaque(found.last); /* or its value is kept in one register for each way out */
		behind++;
		opaque(behind);
		if (found.last - 1 >= DNS_LABEL_MAX)
			break;
		behind += found.last;
	}
	found.length = behind - name - DNS_POINTER_SIZE;
	return found;
}

/*
 * Octets of the name, root byte included; 0 if it is not a name or the question is not
 * whole. `left`: octets from the name's first to the packet's end.
 */
static __always_inline __u64 dns_name_length(struct dns_name name, __u64 left)
{
	if (name.last || name.length > ABI_NAME_MAX || name.length + DNS_QUESTION_REST > left)
		return 0;
	return name.length;
}

/* Whether the labels lead to a compression pointer that is whole before the end. */
static __always_inline bool dns_is_pointer(struct dns_name name, __u64 left)
{
	return name.last >= DNS_POINTER && name.length <= ABI_NAME_MAX &&
	       name.length + DNS_POINTER_SIZE - 1 <= left;
}

/* A-Z to a-z in eight bytes at once. Length octets are below 64 and do not change. */
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

/* What one word of a name adds to the name's sum, which gives its place in the index. */
static __always_inline __u64 index_term(const volatile __u64 *factors, __u64 word)
{
	return word * factors[0] + (word >> 32) * factors[1];
}

/*
 * The sum over the folded name, which gives its place in the index (abi.h). The word
 * that ends with the name's last octet is read whole: it may begin in the DNS header,
 * and nothing behind the name is read.
 *
 * Args: dns, end: the message and the frame's end; length: of the name, 1..255.
 */
static __always_inline bool dns_sum_name(const __u8 *dns, const __u8 *end, __u64 length, __u64 *sum)
{
	const __u8 *behind = dns + DNS_HEADER + sizeof(__u64); /* of the word that is read next */
	const __u8 *last = dns + DNS_HEADER - sizeof(__u64) + length;
	__u64 whole = (length - 1) >> 3;
	volatile struct name_index *index = map_value(MAP_NAME_INDEX);
	const volatile __u64 *factors = index->factors;
	__u64 words = 0;
	__u64 rest;

	for (__u64 i = 31 - (whole & 31); i < 31; i++) {
		opaque(i);
		if (behind > end)
			return false;
		words += index_term(factors, dns_fold_case(load64(behind - sizeof(__u64))));
		behind += sizeof(__u64);
		opaque(behind);
		factors += 2;
		opaque(factors);
	}
	if (last + sizeof(__u64) > end)
		return false;
	rest = dns_fold_case(last_bytes(load64(last), length - 8 * whole));
	*sum = words + index_term(factors, rest);
	return true;
}

/*
 * Writes the folded name to the scratch's key, zero padded. Reads as dns_sum_name does.
 *
 * Args: dns, end: the message and the frame's end; length: of the name, 1..255.
 */
static __always_inline bool dns_fold_name(struct scratch *scratch, const __u8 *dns, const __u8 *end,
					  __u64 length)
{
	const __u8 *behind = dns + DNS_HEADER + sizeof(__u64); /* of the word that is read next */
	const __u8 *last = dns + DNS_HEADER - sizeof(__u64) + length;
	__u64 whole = (length - 1) >> 3;
	__u64 *words = scratch->words;
	__u64 rest;

	if (last + sizeof(__u64) > end)
		return false;
	rest = dns_fold_case(last_bytes(load64(last), length - 8 * whole));
	for (int i = 0; i < 32; i++)
		scratch->words[i] = 0;
	for (__u64 i = 31 - (whole & 31); i < 31; i++) {
		opaque(i);
		if (behind > end)
			return false;
		*words++ = dns_fold_case(load64(behind - sizeof(__u64)));
		opaque(words);
		behind += sizeof(__u64);
		opaque(behind);
	}
	opaque(whole);
	scratch->words[whole & 31] = rest;
	return true;
}

#endif
