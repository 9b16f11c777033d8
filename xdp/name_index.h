/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which look-ups a name needs. The service keeps an index of the names in qnames
 * (abi.h); most names that are not blocked need no look-up at all.
 */
#ifndef XDPCTL_NAME_INDEX_H
#define XDPCTL_NAME_INDEX_H

#include "dns.h"
#include "empty_maps.h"

/* The look-ups for one name, in their order. An entry of a wildcard type is for every type. */
enum name_lookup {
	LOOKUP_OWN = 1 << 0,
	LOOKUP_65535 = 1 << 1,
	LOOKUP_255 = 1 << 2,
};

/* All look-ups that this configuration has for a type, each key once. */
static __always_inline __u64 all_lookups(__u16 qtype)
{
	__u64 lookups = LOOKUP_OWN;

	if (CONFIG_QTYPE_65535 && qtype != 65535)
		lookups |= LOOKUP_65535;
	if (CONFIG_QTYPE_255 && qtype != 255)
		lookups |= LOOKUP_255;
	return lookups;
}

/* What a type contributes to the number of its bit; 0 for type 65535. */
static __always_inline __u64 index_place(__u16 qtype, __u64 factor)
{
	return (__u16)(qtype + 1) * factor >> 58;
}

/* Whether the map may have a key for the name with this sum and for this type. */
static __always_inline __u64 may_be_there(__u64 word, __u64 sum, __u64 place)
{
	return word >> ((sum >> (64 - INDEX_WORD_BITS - 6) ^ place) & 63) & 1;
}

/*
 * The look-ups that are needed: those that the index does not rule out. If its
 * heartbeat is too old, 0, or in the future, the index is not used and all are needed.
 */
static __always_inline __u64 lookups_needed(const __u8 *dns, const __u8 *end, __u64 name_length,
					    __u16 qtype)
{
	volatile struct name_index *index = map_value(MAP_NAME_INDEX);
	__u64 heartbeat = index->heartbeat;
	__u64 now = jiffies();
	__u64 needed = 0;
	__u64 factor;
	__u64 place;
	__u64 word;
	__u64 sum;

	ask(index, now);
	if (now - (heartbeat >> 1) > index->fresh)
		return all_lookups(qtype);
	if (!dns_sum_name(dns, end, name_length, &sum))
		return all_lookups(qtype);
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
	return needed ? needed & all_lookups(qtype) : 0;
}

#endif
