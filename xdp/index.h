/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The index that the service keeps beside the maps (abi.h): which of them need not
 * be looked into, and for which types a name has to be looked up.
 */
#ifndef XDPCTL_INDEX_H
#define XDPCTL_INDEX_H

#include "dns.h"

/* Keeps the service at it, which rests while nobody asks. */
static __always_inline void ask(volatile struct name_index *index, __u64 now)
{
	if (index->asked != now)
		index->asked = now;
}

/*
 * Those of `maps` (EMPTY_BIT) that have no entry, and some other bits; 0 where that
 * is too old to be believed, or in the future. Where all of `maps` have entries,
 * this is one load.
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

/* The look-ups for one name, in their order; an entry of a wildcard type is every type's. */
enum name_lookup {
	LOOKUP_OWN = 1 << 0,
	LOOKUP_65535 = 1 << 1,
	LOOKUP_255 = 1 << 2,
};

/* All that this configuration has for a type, no key twice. */
static __always_inline __u64 all_lookups(__u16 qtype)
{
	__u64 lookups = LOOKUP_OWN;

	if (CONFIG_QTYPE_65535 && qtype != 65535)
		lookups |= LOOKUP_65535;
	if (CONFIG_QTYPE_255 && qtype != 255)
		lookups |= LOOKUP_255;
	return lookups;
}

/* What a type changes about the number of a bit; nothing, if it is 65535. */
static __always_inline __u64 index_place(__u16 qtype, __u64 factor)
{
	return (__u16)(qtype + 1) * factor >> 58;
}

/* Whether a key of the name with this sum and of this type may be in the map. */
static __always_inline __u64 may_be_there(__u64 word, __u64 sum, __u64 place)
{
	return word >> ((sum >> (64 - INDEX_WORD_BITS - 6) ^ place) & 63) & 1;
}

/*
 * The look-ups that cannot be left out: what the index does not rule out, or all
 * of them where it has no say, as its heartbeat is too old, 0, or in the future.
 */
static __always_inline __u64 lookups_needed(const __u8 *dns, const __u8 *end, __u64 name_length,
					    __u16 qtype)
{
	volatile struct name_index *index = map_value(MAP_NAME_INDEX);
	__u64 heartbeat = index->heartbeat;
	__u64 now = jiffies();
	__u64 lookups = all_lookups(qtype);
	__u64 needed = 0;
	__u64 factor;
	__u64 place;
	__u64 word;
	__u64 sum;

	ask(index, now);
	if (now - (heartbeat >> 1) > index->fresh)
		return lookups;
	if (!dns_sum_name(dns, end, name_length, &sum))
		return lookups;
	place = (heartbeat & 1) << INDEX_WORD_BITS | sum >> (64 - INDEX_WORD_BITS);
	opaque(place);
	word = index->words[place & (2 * INDEX_WORDS - 1)];
	factor = index->type_factor;
	if (may_be_there(word, sum, index_place(qtype, factor)))
		needed |= LOOKUP_OWN;
	if (CONFIG_QTYPE_65535 && may_be_there(word, sum, index_place(65535, factor)))
		needed |= LOOKUP_65535;
	if (CONFIG_QTYPE_255 && may_be_there(word, sum, index_place(255, factor)))
		needed |= LOOKUP_255;
	return needed & lookups;
}

#endif
