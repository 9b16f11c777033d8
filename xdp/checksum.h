/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sums of the Internet checksum (RFC 1071). Ones' complement works in any byte order
 * that is the same throughout; here it is the order of the bytes in memory.
 */
#ifndef XDPCTL_CHECKSUM_H
#define XDPCTL_CHECKSUM_H

#include "dns.h"

/* Eight bytes as two addends, so that no carry is lost: good for 2^31 words. */
static __always_inline __u64 sum64(__u64 word)
{
	return (word & 0xffffffff) + (word >> 32);
}

/* The checksum for a sum below 2^48. */
static __always_inline __u16 checksum_finish(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32); /* at most 2^32 + 65534 */
	sum = (sum & 0xffff) + (sum >> 16);	/* at most 131070 */
	return ~(sum + (sum >> 16));
}

/*
 * Sums the message behind its header: question and OPT. Like the name, it is read in
 * words, and the last word ends with the last octet.
 *
 * Args: dns, end: the message and the frame's end; length: octets behind the
 * header, 5..270.
 */
static __always_inline __u64 checksum_dns_body(const __u8 *dns, const __u8 *end, __u64 length)
{
	const __u8 *behind = dns + DNS_HEADER + sizeof(__u64); /* of the word that is read next */
	const __u8 *last = dns + DNS_HEADER - sizeof(__u64) + length;
	__u64 whole = (length - 1) >> 3;
	__u64 sum = 0;

	if (last + sizeof(__u64) > end)
		return 0;
	for (__u64 i = 63 - (whole & 63); i < 63; i++) {
		opaque(i);
		if (behind > end)
			break;
		sum += (__u64)load32(behind - 8) + load32(behind - 4);
		behind += sizeof(__u64);
		opaque(behind);
	}
	/* last, because this word waits for the length */
	return sum + sum64(last_bytes(load64(last), length - 8 * whole));
}

#endif
