/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The TC=1 answer: the only file that writes into a packet. The query becomes its own
 * answer and never grows. The question stays; an OPT record right behind the question
 * becomes a bare OPT; everything else is cut off.
 */
#ifndef XDPCTL_ANSWER_H
#define XDPCTL_ANSWER_H

#include "checksum.h"
#include "packet.h"
#include "samples.h"

#define ANSWER_TTL	 64
#define OPT_FIXED	 11    /* root, type, class, TTL, length */
#define OPT_TYPE	 41    /* RFC 6891 */
#define OPT_SIZE	 1232  /* UDP payload that fits everywhere unfragmented */
#define OPT_DO		 0x80  /* first byte of OPT's flags */
#define BODY_LENGTH_MASK 0x1ff /* 255 + 4 + OPT_FIXED fits */
#define TRAITS_UNANSWERABLE \
	(TRAIT_OPTIONS | TRAIT_EXTENSIONS | TRAIT_FIRST_FRAGMENT | TRAIT_BUFFERS)

struct opt_record {
	__u8 root;
	__u8 type_be[2];
	__u8 size_be[2];
	__u8 extended_rcode;
	__u8 version;
	__u8 flags_high;
	__u8 flags_low;
	__u8 length_be[2];
} WIRE;

_Static_assert(sizeof(struct opt_record) == OPT_FIXED, "OPT record");
_Static_assert(DNS_RD << 8 >> 1 == DNS_RA, "RA follows from RD by a shift");

/* Turns the query's OPT into the answer's. Returns its length, 0 if there is none. */
static __always_inline __u64 answer_opt(const struct dns_header *dns, __u8 *behind_question,
					const __u8 *end)
{
	struct opt_record *opt = (struct opt_record *)behind_question;

	if (dns->ancount_be || dns->nscount_be || !dns->arcount_be)
		return 0;
	if (behind_question + sizeof(*opt) > end)
		return 0;
	if (opt->root || opt->type_be[0] || opt->type_be[1] != OPT_TYPE)
		return 0;
	opt->size_be[0] = OPT_SIZE >> 8;
	opt->size_be[1] = OPT_SIZE & 0xff;
	opt->extended_rcode = 0;
	opt->version = 0;
	opt->flags_high &= OPT_DO;
	opt->flags_low = 0;
	opt->length_be[0] = 0;
	opt->length_be[1] = 0;
	return sizeof(*opt);
}

/* Whether no host that can be answered has an address with this first octet. */
static __always_inline bool is_nobody_ipv4(__u64 first)
{
	return first - 1 >= 223 || first == 127; /* 0/8, 224/3, 127/8 */
}

/* The same for ::/127, ff00::/8, ::ffff:0:0/96. */
static __always_inline bool is_nobody_ipv6(const __u8 *address)
{
	__u64 low;

	if (load64(address))
		return address[0] == 0xff;
	low = be64(load64(address + 8));
	return low <= 1 || low >> 32 == 0xffff;
}

/* Whether one of the addresses is not a host's, or both are the same. */
static __always_inline bool is_between_nobody(struct xdp_md *ctx, const struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const __u8 *header = frame_start(ctx) + network;
	const __u8 *end = frame_end(ctx);

	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)header;

		if ((const __u8 *)(ip + 1) > end)
			return true;
		return is_nobody_ipv6(ip->saddr_be) || is_nobody_ipv6(ip->daddr_be) ||
		       (load64(ip->saddr_be + 8) == load64(ip->daddr_be + 8) &&
			load64(ip->saddr_be) == load64(ip->daddr_be));
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)header;
		const __u8 *saddr = (const __u8 *)&ip->saddr_be;

		if ((const __u8 *)(ip + 1) > end)
			return true;
		return is_nobody_ipv4(saddr[0]) || is_nobody_ipv4(saddr[4]) ||
		       load32(saddr) == load32(saddr + 4);
	}
}

/* Swaps the two addresses of the Ethernet header. */
static __always_inline void answer_ethernet(struct ethernet_header *ethernet)
{
	__u32 destination = load32(ethernet->destination);
	__u16 destination_rest = load16(ethernet->destination + 4);

	store32(ethernet->destination, load32(ethernet->source));
	store16(ethernet->destination + 4, load16(ethernet->source + 4));
	store32(ethernet->source, destination);
	store16(ethernet->source + 4, destination_rest);
}

/* Returns the sum of both addresses for the pseudo header; swapping does not change it. */
static __always_inline __u64 answer_ipv4(struct ipv4_header *ip, __u16 payload)
{
	__u32 saddr_be = ip->saddr_be;
	__u32 daddr_be = ip->daddr_be;
	__u64 addresses = (__u64)saddr_be + daddr_be;
	__u16 total_length_be = be16(IPV4_HEADER_MIN + payload);

	ip->checksum = checksum_finish(addresses + load16(ip) + total_length_be + ip->id_be +
				       ip->fragment_be + be16(ANSWER_TTL << 8 | PROTOCOL_UDP));
	ip->total_length_be = total_length_be;
	ip->ttl = ANSWER_TTL;
	ip->saddr_be = daddr_be;
	ip->daddr_be = saddr_be;
	return addresses;
}

static __always_inline __u64 answer_ipv6(struct ipv6_header *ip, __u16 payload)
{
	__u64 saddr_high = load64(ip->saddr_be);
	__u64 saddr_low = load64(ip->saddr_be + 8);
	__u64 daddr_high = load64(ip->daddr_be);
	__u64 daddr_low = load64(ip->daddr_be + 8);

	ip->payload_length_be = be16(payload);
	ip->hop_limit = ANSWER_TTL;
	store64(ip->saddr_be, daddr_high);
	store64(ip->saddr_be + 8, daddr_low);
	store64(ip->daddr_be, saddr_high);
	store64(ip->daddr_be + 8, saddr_low);
	return sum64(saddr_high) + sum64(saddr_low) + sum64(daddr_high) + sum64(daddr_low);
}

/* Returns the sum of the new DNS header. */
static __always_inline __u64 answer_dns(struct dns_header *dns, bool has_opt)
{
	const __u16 kept = (DNS_OPCODE | DNS_RD) << 8 | DNS_CD;
	__u64 arcount_be = has_opt ? be16(1) : 0;
	__u64 flags = be16(load16(&dns->flags_high));
	__u64 flags_be;

	flags = (flags & kept) | (DNS_QR | DNS_TC) << 8 | (flags & DNS_RD << 8) >> 1; /* RA */
	flags_be = be16(flags);
	store16(&dns->flags_high, flags_be);
	store32(&dns->ancount_be, 0); /* and nscount */
	dns->arcount_be = arcount_be;
	return dns->id_be + flags_be + dns->qdcount_be + arcount_be;
}

/*
 * Cuts the frame after the question and an OPT record of `opt` octets, and reverses every
 * header. Returns false if the frame could not be answered.
 */
static __always_inline bool answer_frame(struct xdp_md *ctx, struct scratch *scratch,
					 __u64 question, __u64 opt)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	__u64 body = (question + opt) & BODY_LENGTH_MASK;
	__u64 traits = scratch_get(scratch, traits);
	__u16 payload = UDP_HEADER + DNS_HEADER + body;
	__u8 *start = frame_start(ctx);
	__u8 *end = frame_end(ctx);
	struct udp_header *udp;
	struct dns_header *dns;
	__u64 addresses;
	__u64 excess;
	__u64 sum;
	__u16 source_be;
	__u16 checksum;

	excess = end - start - transport - payload;
	if (excess) { /* the call costs 9 ns, and most queries need no cut */
		if (trim_frame(ctx, -(int)excess))
			return false;
		start = frame_start(ctx);
		end = frame_end(ctx);
	}
	if (start + sizeof(struct ethernet_header) > end)
		return false;
	answer_ethernet((struct ethernet_header *)start);
	if (traits & TRAIT_IPV6) {
		struct ipv6_header *ip = (struct ipv6_header *)(start + network);

		if ((__u8 *)(ip + 1) > end)
			return false;
		addresses = answer_ipv6(ip, payload);
	} else {
		struct ipv4_header *ip = (struct ipv4_header *)(start + network);

		if ((__u8 *)(ip + 1) > end)
			return false;
		addresses = answer_ipv4(ip, payload);
	}
	opaque(transport);
	udp = (struct udp_header *)(start + transport);
	dns = (struct dns_header *)(udp + 1);
	if ((__u8 *)(dns + 1) > end)
		return false;
	source_be = udp->source_be;
	sum = addresses + be16(PROTOCOL_UDP) + be16(payload);
	sum += source_be + udp->destination_be + be16(payload);
	sum += answer_dns(dns, opt);
	opaque(sum); /* compute this part before the body's sum */
	sum += checksum_dns_body((__u8 *)dns, end, body);
	checksum = checksum_finish(sum);
	udp->source_be = udp->destination_be;
	udp->destination_be = source_be;
	udp->length_be = be16(payload);
	udp->checksum = checksum ? checksum : 0xffff;
	return true;
}

/*
 * Answers the query that `scratch` describes. Returns false if it cannot be answered;
 * the caller then drops the packet, which may have been changed.
 *
 * The caller has seen QR = 0 and that OPCODE is neither NOTIFY nor UPDATE.
 */
static __always_inline bool answer(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	__u64 question = scratch_get(scratch, name_length);
	__u8 *start = frame_start(ctx);
	__u8 *end = frame_end(ctx);
	struct dns_header *dns;

	if (scratch_get(scratch, traits) & TRAITS_UNANSWERABLE || !question)
		return false;
	question += DNS_QUESTION_REST;
	dns = (struct dns_header *)(start + transport + UDP_HEADER);
	if ((__u8 *)(dns + 1) > end)
		return false;
	opaque(start); /* without this the compiler removes the check below, which the verifier
			  needs */
	if (start + sizeof(struct ethernet_header) > end)
		return false;
	if ((start[0] | start[6]) & 1) /* one of the MAC addresses is a group address */
		return false;
	if (dns->flags_high & DNS_OPCODE || dns->qdcount_be != be16(1))
		return false;
	if (is_between_nobody(ctx, scratch))
		return false;
	if (CONFIG_SAMPLES)
		sample_before_answer(
			ctx, VERDICT(reason_of(scratch_get(scratch, rule)), ACTION_TRUNCATE));
	return answer_frame(ctx, scratch, question,
			    answer_opt(dns, (__u8 *)(dns + 1) + question, end));
}

#endif
