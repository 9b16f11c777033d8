/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counts what is not a packet's verdict, in rows behind those of the reasons. */
#ifndef XDPCTL_TALLY_H
#define XDPCTL_TALLY_H

#include "platform.h"

static __always_inline void tally(__u32 row, __u64 good)
{
	__u32 zero = 0;
	struct counters *counters = map_lookup(MAP_COUNTERS, &zero);

	if (counters)
		counters->cell[row][good & 1].packets++;
}

#endif
