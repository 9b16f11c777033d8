/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Names as keys of name-table: a name's units from the root on, word by word, and the bits
 * of a suffix in the filter's word (abi.h). Shared by the filter, whose names lie in a
 * packet, and the table program, whose names lie in a request.
 */
#ifndef XDPCTL_TABLE_NAMES_H
#define XDPCTL_TABLE_NAMES_H

#include "dns.h"
#include "table.h"

#define NAME_WORDS_MAX 46 /* 17 units of at most 254 octets together */

/*
 * A walk over a name from the root on. A unit is a label with its length octet; what is
 * in front of the sixteenth label is one unit. Offsets count from the name's first octet.
 */
struct name_walk {
	struct sums sums; /* of the units so far */
	__u64 start;	  /* the first octet of this unit that was not read */
	__u64 stop;	  /* behind this unit */
};

/* Where a name lies. At least eight octets lie before it. */
struct name_text {
	const __u8 *name;
	const __u8 *end; /* the frame's */
	bool in_packet;	 /* a constant. Else it is in a request, which has room for any name. */
};

/* Reads the eight octets that end before offset `stop`. */
static __always_inline bool octets_before(struct name_text text, __u64 stop, __u64 *word)
{
	const __u8 *from;

	stop &= 255;
	opaque(stop);
	from = text.name - sizeof(*word) + stop;
	if (text.in_packet && from + sizeof(*word) > text.end)
		return false;
	*word = load64(from);
	return true;
}

/* What a step of a walk came to. */
enum walk_step {
	STEP_INSIDE,  /* the unit goes on */
	STEP_UNIT,    /* the unit has ended: the sums are those of a suffix */
	STEP_OVERRUN, /* the name is not inside the packet, which was looked at before */
};

/* Adds the next word of the unit, which is word `number` of the name. */
static __always_inline enum walk_step walk_word(struct name_walk *walk,
						const struct table_head *head, __u64 number,
						struct name_text text)
{
	__u64 left = walk->stop - walk->start;
	bool ends = left <= sizeof(__u64);
	__u64 stop = ends ? walk->stop : walk->start + sizeof(__u64);
	__u64 word;

	if (!octets_before(text, stop, &word))
		return STEP_OVERRUN;
	if (ends)
		word = last_bytes(word, left & 15);
	add_word(&walk->sums, &head->name_keys[number], dns_fold_case(word));
	walk->start = stop & 255;
	return ends ? STEP_UNIT : STEP_INSIDE;
}

/* The number of the unit's first label in front of the one whose number is `label`. */
static __always_inline __u64 next_unit(__u64 label, __u64 labels)
{
	return label + TABLE_LEVELS == labels ? 0 : label - 1;
}

/* Adds the type of a rule for one type of query. */
static __always_inline struct sums typed_sums(struct sums sums, const struct table_head *head,
					      __u16 qtype)
{
	add_halves(&sums, &head->type_keys, qtype, qtype);
	return sums;
}

/* What a type moves the bits of its rules by. */
static __always_inline __u64 type_place(const struct table_head *head, __u16 qtype)
{
	return (qtype + 1) * head->type_factor >> 58;
}

/* The number of a suffix's word in the filter, and its bits. */
static __always_inline __u64 filter_number(struct sums sums, __u64 words_mask)
{
	return sums.a >> 32 & (__u32)words_mask;
}

#define BIT_HERE(sums)	 ((sums).b >> 58)
#define BIT_DEEPER(sums) ((sums).b >> 52)
#define BIT_ZONE(sums)	 ((sums).b >> 46)
#define BIT_LISTED(sums) ((sums).b >> 40)
#define BIT_SELF(sums)	 ((sums).b >> 34)
#define BIT_SELF2(sums)	 ((sums).a >> 58)
#define BIT_OWN(sums)	 ((sums).a >> 52)

#endif
