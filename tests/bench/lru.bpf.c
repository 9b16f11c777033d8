/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What limits by source are compared with: two prefixes of the source, each looked up in an
 * LRU hash, made where it is missing, else added to. It decides nothing.
 */
#include "packet.h"

#define MAP_LRU 41
#define KEPT	24 /* bits of the wider prefix */

static long (*const helper_map_update_elem)(const void *map, const void *key, const void *value,
					    __u64 flags) = (void *)2;

struct lru_key {
	__u32 saddr;
	__u32 length;
};

static __always_inline void account(__u32 saddr, __u32 length)
{
	const void *map = (const void *)bpf_pseudo_fd(1, MAP_LRU);
	struct lru_key key = {saddr, length};
	__u64 *known = helper_map_lookup_elem(map, &key);
	__u64 fresh = 1;

	if (known)
		*known += 1;
	else
		helper_map_update_elem(map, &key, &fresh, 0);
}

int lru(struct xdp_md *ctx)
{
	const struct ethernet_header *ethernet = (const struct ethernet_header *)frame_start(ctx);
	const struct ipv4_header *ip = (const struct ipv4_header *)(ethernet + 1);
	__u32 saddr;

	if ((const __u8 *)(ip + 1) > frame_end(ctx))
		return XDP_DROP;
	saddr = be32(ip->saddr_be);
	account(saddr, 32);
	account(saddr >> (32 - KEPT), KEPT);
	return XDP_PASS;
}
