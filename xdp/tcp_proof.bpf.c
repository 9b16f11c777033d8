/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The program that proves sources where the filter cannot see their sockets: a container's,
 * whose port is mapped. It is attached to the root of all control groups (`--proof cgroup`),
 * and the kernel calls it for the connections of every process of this host, with the ends
 * that the process sees. It changes nothing about a connection.
 *
 * A connection is reported as established when the kernel makes its socket. With TCP Fast
 * Open that is on the SYN already, which anybody can forge where no cookie is asked for. So
 * the program asks to be called again, and believes the change of state behind the handshake.
 */
#include "config.h"
#include "proven.h"

/* The word before the IPv4 address in an IPv4-mapped IPv6 one, ::ffff:a.b.c.d. */
#define MAPPED_BE be32(0xffff)

#define FAMILY_IPV4	  2
#define FAMILY_IPV6	  10
#define STATE_ESTABLISHED 1
#define STATE_SYN_RECV	  3
#define SOCK_OPS_DONE	  1 /* anything else hides what other programs reply */

static __always_inline void prove_unless_new(const struct limits *limits, __u64 hash)
{
	if (!is_newly_proven(limits, hash))
		prove(limits, hash);
}

/* Proves the peer of an IPv4 connection, unless it is this host itself. */
static __always_inline void prove_ipv4(const struct limits *limits, __u32 remote_be, __u32 local_be)
{
	__u32 remote = be32(remote_be);

	if (remote_be != local_be && remote >> 24 != 127)
		prove_unless_new(limits, proven_hash_ipv4(limits, remote));
}

/* The same of IPv6, and of IPv4 over a socket for both families. */
static __always_inline void prove_ipv6(const struct limits *limits, const __u32 remote_be[4],
				       const __u32 local_be[4])
{
	if (!remote_be[0] && !remote_be[1]) {
		if (remote_be[2] == MAPPED_BE)
			prove_ipv4(limits, remote_be[3], local_be[3]);
		return; /* the rest is ::1 and the like */
	}
	if (remote_be[0] == local_be[0] && remote_be[1] == local_be[1] &&
	    remote_be[2] == local_be[2] && remote_be[3] == local_be[3])
		return;
	prove_unless_new(limits, proven_hash_ipv6(limits, (__u64)be32(remote_be[0]) << 32 |
								  be32(remote_be[1])));
}

static __always_inline void prove_peer(const volatile struct bpf_sock_ops *ops)
{
	const struct limits *limits = map_value(MAP_LIMITS);
	__u32 remote_be[4];
	__u32 local_be[4];

	if (ops->family == FAMILY_IPV4) {
		prove_ipv4(limits, ops->remote_ip4, ops->local_ip4);
	} else if (ops->family == FAMILY_IPV6) {
		for (int i = 0; i < 4; i++) {
			remote_be[i] = ops->remote_ip6[i];
			local_be[i] = ops->local_ip6[i];
		}
		prove_ipv6(limits, remote_be, local_be);
	}
}

int xdpctl_tcp_proof(struct bpf_sock_ops *context)
{
	const volatile struct bpf_sock_ops *ops = context;
	__u16 port = ops->local_port;

	if (!is_port(port))
		return SOCK_OPS_DONE;
	if (ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		call_at_changes_of_state(context);
	else if (ops->op == BPF_SOCK_OPS_STATE_CB && ops->args[0] == STATE_SYN_RECV &&
		 ops->args[1] == STATE_ESTABLISHED)
		prove_peer(ops);
	return SOCK_OPS_DONE;
}
