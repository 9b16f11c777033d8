/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the sample program expects of kernel headers, under the kernel's names: the
 * headers of the protocols as their RFCs draw them. Its maps are not to be pinned.
 */
#ifndef XDPCTL_SAMPLE_SOCK_H
#define XDPCTL_SAMPLE_SOCK_H

#include <linux/types.h>

#define ETH_ALEN      6
#define ETH_P_IP      0x0800
#define ETH_P_8021Q   0x8100
#define ETH_P_IPV6    0x86dd
#define ETH_P_8021AD  0x88a8
#define IPPROTO_TCP   6
#define IPPROTO_UDP   17
#define LITTLE_ENDIAN 1234
#define BIG_ENDIAN    4321
#define PDP_ENDIAN    3412
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTE_ORDER LITTLE_ENDIAN
#define htons(x)   __builtin_bswap16(x)
#else
#define BYTE_ORDER BIG_ENDIAN
#define htons(x)   (x)
#endif
#define memset __builtin_memset
#define NULL   ((void *)0)

struct ethhdr {
	__u8 h_dest[ETH_ALEN];
	__u8 h_source[ETH_ALEN];
	__u16 h_proto;
} __attribute__((packed));

struct iphdr {
	__u8 version_ihl;
	__u8 tos;
	__u16 tot_len;
	__u16 id;
	__u16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__u32 saddr;
	__u32 daddr;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__u32 u6_addr32[4];
	} in6_u;
};

struct ipv6hdr {
	__u8 version_class;
	__u8 flow_lbl[3];
	__u16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	struct in6_addr saddr;
	struct in6_addr daddr;
};

struct udphdr {
	__u16 source;
	__u16 dest;
	__u16 len;
	__u16 check;
};

#undef BPF_TABLE_PINNED
#define BPF_TABLE_PINNED(type, key, leaf, name, entries, pin) \
	BPF_TABLE(type, key, leaf, name, entries)
#undef BPF_TABLE_PINNED7
#define BPF_TABLE_PINNED7(type, key, leaf, name, entries, pin, flags) \
	BPF_F_TABLE(type, key, leaf, name, entries, flags)

#endif
