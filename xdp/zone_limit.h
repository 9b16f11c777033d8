/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The limits of zones: the longest zone with a limit that the question's name is below, and
 * its account, unless the name exists in it (abi.h, "Limits of zones"). The account is read
 * first; it is taken from only if every other limit lets the packet go on, too.
 */
#ifndef XDPCTL_ZONE_LIMIT_H
#define XDPCTL_ZONE_LIMIT_H

#include "zone_names.h"

/* What the walk has found of the name. */
enum zone_state {
	ZONE_FOUND = 1 << 0, /* there is a zone; its values are in the scratch */
	ZONE_HERE = 1 << 1,  /* the suffix exists in it */
	ZONE_KNOWN = 1 << 2, /* its names are known */
	ZONE_EVERY = 1 << 3, /* whatever is below exists */
};

/* Looks a suffix up among the zones with a limit, and begins with the one that is there. */
static __always_inline void enter_zone(struct scratch *scratch)
{
	const struct zone_limit *limit;

	scratch_put(scratch, tag, suffix_tag(scratch));
	limit = map_lookup(MAP_ZONE_LIMITS, &scratch->tag);
	if (!limit)
		return;
	scratch_put(scratch, zone_price, limit->price);
	scratch_put(scratch, zone_room, limit->room);
	scratch_put(scratch, zone_most, limit->most);
	scratch_put(scratch, zone_number, limit->number);
	/* APEX_LISTED and APEX_WHOLE are ZONE_KNOWN and ZONE_EVERY, two bits lower */
	scratch_put(scratch, zone_state, ZONE_FOUND | ZONE_HERE | (limit->names & 3) << 2);
}

/* Whether it is worth to look the next suffix up among the names of the zone. */
static __always_inline bool is_alive(__u64 state)
{
	return (state & (ZONE_KNOWN | ZONE_HERE | ZONE_EVERY)) == (ZONE_KNOWN | ZONE_HERE);
}

/*
 * Looks at a suffix of so many labels. Returns whether a longer one may change anything.
 * Above a zone with a limit only the number of labels is looked at.
 */
static __always_inline bool look_at_suffix(struct scratch *scratch, __u64 levels, __u64 labels)
{
	__u64 state = scratch_get(scratch, zone_state);
	__u64 flags = 0;

	if (is_alive(state))
		flags = name_flags(scratch);
	state &= ~(__u64)ZONE_HERE;
	/* ZONE_NAME_ENTRY and ZONE_NAME_BELOW are ZONE_HERE and ZONE_EVERY */
	state |= (flags & ZONE_NAME_ENTRY) << 1 | (flags & ZONE_NAME_BELOW) << 2;
	scratch_put(scratch, zone_state, state);
	levels >>= labels & 63;
	if (levels & 1) {
		if (CONFIG_SAMPLES)
			scratch_put(scratch, zone_depth, labels);
		enter_zone(scratch);
	}
	return levels >> 1 || is_alive(scratch_get(scratch, zone_state));
}

/* Walks the name, and leaves in the scratch which zone it is below, and whether it exists. */
static __always_inline void find_zone(struct scratch *scratch, const struct zone_head *head)
{
	__u64 levels = *(const volatile __u64 *)&head->levels;
	__u64 labels = scratch_get(scratch, labels);

	scratch_put(scratch, zone_state, 0);
	if (!labels || !levels)
		return;
	scratch_put(scratch, zone_a, head->seed_a);
	scratch_put(scratch, zone_b, head->seed_b);
	go_to_label(scratch, labels - 1, scratch_get(scratch, name_length) - 1);
	for (__u64 i = 0; i < ZONE_NAME_WORDS; i++) {
		__u64 unit;

		if (!add_label_word(scratch, head, i))
			continue;
		unit = scratch_get(scratch, zone_unit);
		labels = scratch_get(scratch, labels) - unit;
		if (!look_at_suffix(scratch, levels, labels) || !unit)
			break;
		if (labels >= ZONE_LEVELS) {
			go_to_label(scratch, 0, 0);
			break;
		}
		go_to_label(scratch, unit - 1, scratch->starts[unit & 127]);
	}
}

/* Whether the name, whose walk has ended, exists in its zone, or has none. */
static __always_inline bool is_free_name(const struct scratch *scratch)
{
	__u64 state = scratch_get(scratch, zone_state);

	return !(state & ZONE_FOUND) || state & ZONE_EVERY ||
	       (state & ZONE_HERE && !scratch_get(scratch, zone_unit));
}

/*
 * Whether the limit of its zone lets the packet go on. Nothing is written but the scratch:
 * ZONE_FOUND is left for `zone_limit_take` only if there is something to take.
 */
static __always_inline bool zone_limit_allows(struct xdp_md *ctx, struct scratch *scratch)
{
	const struct zone_cell *cell;
	__u64 ticks = jiffies();
	__u64 now = ticks << ZONE_TIME_SHIFT;
	__u64 spent, ends;

	scratch_put(scratch, zone_state, 0);
	if (!fold_question(ctx, scratch))
		return true;
	find_zone(scratch, zone_head());
	if (is_free_name(scratch)) {
		scratch_put(scratch, zone_state, 0);
		return true;
	}
	cell = map_lookup(MAP_ZONE_CELLS, &scratch->zone_number);
	if (!cell)
		return true;
	ends = *(const volatile __u64 *)&cell->ends;
	if (ends && ends <= ticks) {
		scratch_put(scratch, zone_state, 0);
		return true;
	}
	spent = *(const volatile __u64 *)&cell->until - now;
	if (spent > scratch_get(scratch, zone_most))
		spent = 0;
	scratch_put(scratch, zone_until, now + spent);
	return spent + scratch_get(scratch, zone_price) <= scratch_get(scratch, zone_room);
}

/* Takes the packet's price from the account of its zone, as it goes on. */
static __always_inline void zone_limit_take(struct xdp_md *ctx, struct scratch *scratch)
{
	__u64 until = scratch_get(scratch, zone_until);
	__u64 price = scratch_get(scratch, zone_price);
	struct zone_cell *cell;

	(void)ctx;
	if (!(scratch_get(scratch, zone_state) & ZONE_FOUND))
		return;
	cell = map_lookup(MAP_ZONE_CELLS, &scratch->zone_number);
	if (!cell)
		return;
	if (until - (jiffies() << ZONE_TIME_SHIFT) > scratch_get(scratch, zone_room) / 2)
		__sync_fetch_and_add(&cell->until, price);
	else
		*(volatile __u64 *)&cell->until = until + price;
}

#endif
