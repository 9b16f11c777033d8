/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The clients' end of the wire: an answer to an address that no honest client has, or to a
 * port that only the attack sends from, is dropped before it costs the sending core anything.
 */
#include "platform.h"

#define HONEST	    0xc6120000 /* 198.18.0.0/15 */
#define HONEST_MASK 0xfffe0000
#define WIRE_NET    0xc0000200 /* 192.0.2.0/24 */
#define WIRE_MASK   0xffffff00
#define UDP	    17
#define PORTS_FIRST 6144
#define PORTS_LAST  10239

int wall(struct xdp_md *ctx)
{
	const __u8 *frame = frame_start(ctx);
	__u32 port, to;

	if (frame + 38 > frame_end(ctx) || frame[12] != 8 || frame[13] != 0)
		return XDP_PASS;
	port = (__u32)frame[36] << 8 | frame[37]; /* the header has no options */
	if (frame[23] == UDP && port >= PORTS_FIRST && port <= PORTS_LAST)
		return XDP_DROP;
	to = (__u32)frame[30] << 24 | frame[31] << 16 | frame[32] << 8 | frame[33];
	return (to & HONEST_MASK) == HONEST || (to & WIRE_MASK) == WIRE_NET ? XDP_PASS : XDP_DROP;
}
