/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a configuration does not use is compiled out. xdpctl/program/config.py writes
 * these lines before filter.bpf.c:
 *
 *   CONFIG_PORTS(is)          is(53) is(5353) ...   ports of plain DNS
 *   CONFIG_ADDRESS_PORTS(is)  is(853) ...           address rules only
 *   CONFIG_ADDRESSES_V4(in)   in(net, mask) ...     filtered destinations, host order
 *   CONFIG_ADDRESSES_V6(in)   in(net_high, net_low, mask_high, mask_low) ...
 *   CONFIG_ADDRESS_ANY        1: every destination; the two above are ignored
 *   CONFIG_TCP                1: address rules apply to TCP, too
 *   CONFIG_QTYPE_65535, CONFIG_QTYPE_255   1: an entry of this type is for every type
 *   CONFIG_XSK_V4, CONFIG_XSK_V6           1: AF_XDP destinations of this family
 *   CONFIG_TABLES                          1: zones, and what lists claim, are asked
 *   CONFIG_LIMIT_V4(level), CONFIG_LIMIT_V6(level)
 *                             level(0, 32) level(1, 24) ...   prefixes with accounts
 *   CONFIG_SOURCE_LIMITS      1: there are any    CONFIG_FLOOD  1: a limit in total
 *   CONFIG_PROVEN             1: the table of proven sources is read
 *   CONFIG_PROOF              1: the program proves sources by their TCP connections
 *   CONFIG_COOKIES            1: DNS cookies are checked
 *   CONFIG_EXEMPT             1: there are exempt prefixes
 *   CONFIG_ZONE_LIMITS        1: names below zones are limited
 *   CONFIG_HEAVY              1: names are counted by their ends
 *   CONFIG_SAMPLES            octets of a packet that is sampled; 0: none ever is
 */
#ifndef XDPCTL_CONFIG_H
#define XDPCTL_CONFIG_H

#include "platform.h"

#define CONFIG_XSK    (CONFIG_XSK_V4 || CONFIG_XSK_V6)
#define CONFIG_LIMITS (CONFIG_SOURCE_LIMITS || CONFIG_FLOOD || CONFIG_ZONE_LIMITS)

/* Where each label of the question's name starts is needed. */
#define CONFIG_NAME_STARTS (CONFIG_TABLES || CONFIG_ZONE_LIMITS || CONFIG_HEAVY)

#define CONFIG_IS_PORT(number)	     || port == (number)
#define CONFIG_IN_V4(net, mask)	     || (daddr & (mask)) == (net)
#define CONFIG_IN_V6(nh, nl, mh, ml) || ((high & (mh)) == (nh) && (low & (ml)) == (nl))

static __always_inline bool is_port(__u16 port)
{
	return false CONFIG_PORTS(CONFIG_IS_PORT);
}

static __always_inline bool is_address_port(__u16 port)
{
	(void)port;
	return false CONFIG_ADDRESS_PORTS(CONFIG_IS_PORT);
}

static __always_inline bool is_filtered_ipv4(__u32 daddr_be)
{
	__u32 daddr = be32(daddr_be);

	(void)daddr;
	return CONFIG_ADDRESS_ANY CONFIG_ADDRESSES_V4(CONFIG_IN_V4);
}

static __always_inline bool is_filtered_ipv6(const __u8 daddr_be[16])
{
	__u64 high = be64(load64(daddr_be));
	__u64 low = be64(load64(daddr_be + 8));

	(void)high;
	(void)low;
	return CONFIG_ADDRESS_ANY CONFIG_ADDRESSES_V6(CONFIG_IN_V6);
}

#endif
