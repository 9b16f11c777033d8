/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which rule maps have no entry, so that no look-up is needed in them. The service
 * writes this into the index (abi.h) and refreshes it only while packets ask for it.
 */
#ifndef XDPCTL_EMPTY_MAPS_H
#define XDPCTL_EMPTY_MAPS_H

#include "platform.h"

/* Notes that the index is in use: the service stops refreshing it when nobody asks. */
static __always_inline void ask(volatile struct name_index *index, __u64 now)
{
	if (index->asked != now)
		index->asked = now;
}

/*
 * Returns the maps among `maps` (EMPTY_BIT) that have no entry. Returns 0 if what the
 * service wrote is too old, or lies in the future. If all of `maps` have entries, this
 * costs one load.
 */
static __always_inline __u64 empty_among(__u64 maps)
{
	volatile struct name_index *index = map_value(MAP_NAME_INDEX);
	__u64 empty = index->empty;
	__u64 now;

	if (!(empty & maps))
		return 0;
	now = jiffies();
	ask(index, now);
	return now - (empty >> EMPTY_TICK_SHIFT) <= index->fresh ? empty & maps : 0;
}

#endif
