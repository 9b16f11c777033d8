/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Proof by TCP: a segment of a connection that the kernel holds shows that its source has its
 * address, for a handshake cannot be made blindly. The kernel is asked for the socket of the
 * segment's addresses and ports. Of a half-open connection it gives the listener, so a SYN with
 * a guessed ACK behind it proves nothing, nor does a segment of no connection.
 *
 * The socket of a container whose port is mapped is in another network namespace, or has
 * another address: it is not found, and nobody is proven. tcp_proof.bpf.c sees those.
 */
#ifndef XDPCTL_PROOF_H
#define XDPCTL_PROOF_H

#include "packet.h"
#include "proven.h"
#include "tally.h"

#define TCP_FLAGS 13 /* offset of the octet with the flags */
#define TCP_SYN	  0x02
#define TCP_RST	  0x04
#define TCP_ACK	  0x10

/* The states of a connection whose handshake is complete (enum bpf_tcp_state). */
#define TCP_CONNECTED (1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11)

/* Whether the packet's source is proven. */
static __always_inline bool is_proven_source(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	const struct limits *limits = map_value(MAP_LIMITS);
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	__u64 hash;

	if (scratch_get(scratch, traits) & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return false;
		hash = proven_hash_ipv6(limits, be64(load64(ip->saddr_be)));
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return false;
		hash = proven_hash_ipv4(limits, be32(ip->saddr_be));
	}
	return is_proven(limits, hash);
}

/* Whether a segment is of a connection, by its flags: not its first, and not its end. */
static __always_inline bool is_of_connection(__u8 flags)
{
	return (flags & (TCP_ACK | TCP_SYN | TCP_RST)) == TCP_ACK;
}

/* Whether the kernel has an established connection with these ends; counts the look-up. */
static __always_inline bool is_connected(struct xdp_md *ctx, struct scratch *scratch, __u32 size)
{
	__u32 state = tcp_state(ctx, scratch->words, size);
	bool connected = state < 32 && TCP_CONNECTED >> state & 1;

	tally(ROW_PROOFS, connected);
	return connected;
}

/*
 * Proves the source of a TCP segment to a --port, if it belongs to a connection. Nothing of
 * the packet's own fate depends on it.
 */
static __always_inline void prove_by_tcp(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 network = scratch_get(scratch, network) & OFFSET_MASK;
	__u64 transport = scratch_get(scratch, transport) & OFFSET_MASK;
	__u64 traits = scratch_get(scratch, traits);
	const struct limits *limits = map_value(MAP_LIMITS);
	const __u8 *start = frame_start(ctx);
	const __u8 *end = frame_end(ctx);
	const __u8 *tcp;
	__u64 hash;
	__u32 size;

	if (traits & TRAIT_FIRST_FRAGMENT)
		return;
	opaque(transport);
	tcp = start + transport;
	if (tcp + TCP_FLAGS + 1 > end || !is_of_connection(tcp[TCP_FLAGS]))
		return;
	if (traits & TRAIT_IPV6) {
		const struct ipv6_header *ip = (const struct ipv6_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return;
		scratch->words[0] = load64(ip->saddr_be);
		scratch->words[1] = load64(ip->saddr_be + 8);
		scratch->words[2] = load64(ip->daddr_be);
		scratch->words[3] = load64(ip->daddr_be + 8);
		if (scratch->words[0] == scratch->words[2] &&
		    scratch->words[1] == scratch->words[3])
			return; /* of this host itself */
		scratch->ends6.ports_be = load32(tcp);
		hash = proven_hash_ipv6(limits, be64(scratch->words[0]));
		size = sizeof(scratch->ends6);
	} else {
		const struct ipv4_header *ip = (const struct ipv4_header *)(start + network);

		if ((const __u8 *)(ip + 1) > end)
			return;
		if (ip->saddr_be == ip->daddr_be)
			return;
		scratch->ends4.saddr_be = ip->saddr_be;
		scratch->ends4.daddr_be = ip->daddr_be;
		scratch->ends4.ports_be = load32(tcp);
		hash = proven_hash_ipv4(limits, be32(ip->saddr_be));
		size = sizeof(scratch->ends4);
	}
	if (is_newly_proven(limits, hash))
		return;
	if (is_connected(ctx, scratch, size))
		prove(limits, hash);
}

#endif
