/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The limits in total: two buckets of tickets (abi.h, "The limits"), which CPUs take in
 * batches. A bucket that is empty is only read.
 */
#ifndef XDPCTL_FLOOD_H
#define XDPCTL_FLOOD_H

#include "accounts.h"

static __always_inline struct flood *flood_now(void)
{
	return map_value(MAP_FLOOD);
}

static __always_inline bool has_flood_limit(const struct limits *limits, int bucket)
{
	return limits_get(limits, flood_prices[bucket]);
}

/* How far ahead of the clock a bucket is. */
static __always_inline __u64 flood_spent(const struct limits *limits, int bucket)
{
	const volatile __u64 *until = &flood_now()->bucket[bucket].until;
	__u64 spent = *until - (jiffies() << FLOOD_TIME_SHIFT);
	__u64 most = limits_get(limits, flood_rooms[bucket]) +
		     (limits_get(limits, flood_prices[bucket]) << FLOOD_MOST_SHIFT);

	return spent > most ? 0 : spent;
}

/* Whether there is a ticket for one more packet. */
static __always_inline bool flood_allows(const struct limits *limits, const struct scratch *scratch,
					 int bucket)
{
	if (scratch_get(scratch, tickets[bucket]))
		return true;
	return flood_spent(limits, bucket) + limits_get(limits, flood_prices[bucket]) <=
	       limits_get(limits, flood_rooms[bucket]);
}

/* Takes a ticket: this CPU's, or the first of a batch. */
static __always_inline void take_ticket(const struct limits *limits, struct scratch *scratch,
					int bucket)
{
	__u64 left = scratch_get(scratch, tickets[bucket]);

	if (!left) {
		__u64 price = limits_get(limits, flood_prices[bucket]);
		__u64 *until = &flood_now()->bucket[bucket].until;

		if (flood_spent(limits, bucket))
			__sync_fetch_and_add(until, price);
		else
			*(volatile __u64 *)until = (jiffies() << FLOOD_TIME_SHIFT) + price;
		left = FLOOD_BATCH;
	}
	scratch_put(scratch, tickets[bucket], left - 1);
}

/*
 * The shift of a proven source's prices: how much of Y is spent. Who asks for much pays it
 * soonest, so that few heavy sources leave something of Y to many light ones.
 */
static __always_inline __u64 flood_share(const struct limits *limits)
{
	__u64 room = limits_get(limits, flood_rooms[FLOOD_Y]);
	__u64 spent = flood_spent(limits, FLOOD_Y);

	return spent >= room ? FLOOD_SHARE_STEPS : spent * FLOOD_SHARE_STEPS / room;
}

#endif
