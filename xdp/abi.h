/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The binary contract between the program on the network card, the service and the
 * DNS server. xdpctl/abi.py is its only copy in Python; a test compares every number,
 * size and offset. Nothing here is ever renumbered.
 */
#ifndef XDPCTL_ABI_H
#define XDPCTL_ABI_H

#include <linux/types.h>

/* Octets of a domain name in wire form, root byte included (RFC 1035, 2.3.4). */
#define ABI_NAME_MAX 255

/* Action byte of a rule; every other value is Pass. */
enum rule_action {
	RULE_PASS = 0,
	RULE_DROP = 1,
	RULE_TRUNCATE = 2,
};

/* What was done with a packet: the metric label "action". */
enum packet_action {
	ACTION_PASS = 0,
	ACTION_DROP = 1,
	ACTION_TRUNCATE = 2,
	ACTION_REDIRECT = 3,
	ACTION_COUNT = 4,
};

/* Why it was done: the metric label "reason". Numbered once, never renumbered. */
enum reason {
	REASON_OTHER = 0,
	REASON_FRAGMENT = 1,
	REASON_MALFORMED = 2,
	REASON_ADDR_V4 = 3,
	REASON_ADDR_V6 = 4,
	REASON_CIDR4 = 5,
	REASON_CIDR6 = 6,
	REASON_QNAME = 7,
	REASON_NO_MATCH = 8,
	REASON_RESPONSE = 9,
	REASON_OPCODE = 10,
	REASON_UNANSWERABLE = 11,
	REASON_REDIRECT = 12,
	REASON_XSK_INELIGIBLE = 13,
	REASON_PANIC = 14,
	REASON_EXEMPT = 15,
	REASON_ZONE = 16,
	REASON_LIST_SOURCE = 17,
	REASON_LIST_NAME = 18,
	REASON_COUNT = 19,
	REASON_SLOTS = 32, /* room for later reasons without a new layout */
};

/*
 * Map numbers. The compiled program carries them where the kernel expects file
 * descriptors; the loader replaces them with descriptors.
 */
enum map_ref {
	MAP_ADDR_V4 = 1,
	MAP_ADDR_V6 = 2,
	MAP_CIDR4 = 3,
	MAP_CIDR6 = 4,
	MAP_QNAMES = 5,
	MAP_XSKMAP = 6,
	MAP_XSK_DESTINATIONS_V4 = 7,
	MAP_XSK_DESTINATIONS_V6 = 8,
	MAP_COUNTERS = 9,
	MAP_CONTROL = 10,
	MAP_SCRATCH = 11,
	MAP_NAME_INDEX = 12,
};

/* Whose rules: those of lists are asked after all others. */
enum book {
	BOOK_OPERATOR = 0,
	BOOK_LISTS = 1,
};

/* What a rule for a name covers. */
enum zone_scope {
	ZONE_SELF = 0,	/* the name alone */
	ZONE_ALL = 1,	/* the name and everything below */
	ZONE_BELOW = 2, /* only what is below */
};

/* Key of addr-v4: the address as an integer in the host's byte order. */
struct addr_v4_key {
	__u32 saddr_host;
};

/* Key of addr-v6: the address in wire order. */
struct addr_v6_key {
	__u8 saddr_be[16];
};

/* Keys of the LPM tries: prefix length in host order, address in wire order. */
struct cidr4_key {
	__u32 prefixlen;
	__u8 saddr_be[4];
};

struct cidr6_key {
	__u32 prefixlen;
	__u8 saddr_be[16];
};

/* Key of qnames: lower-case wire name, zero padded; type in host order. */
struct qname_key {
	__u8 name[ABI_NAME_MAX];
	__u8 zero;
	__u16 qtype;
};

/* Value of the five rule maps. Never read the last seven bytes. */
struct rule_value {
	__u64 hits;
	__u8 action;
	__u8 unused[7];
};

/* Keys of the destination maps: address and port in wire order; value 1 byte. */
struct xsk_destination_v4 {
	__u8 daddr_be[4];
	__u8 port_be[2];
	__u8 zero[2];
};

struct xsk_destination_v6 {
	__u8 daddr_be[16];
	__u8 port_be[2];
	__u8 zero[2];
};

/* One cell: packets and bytes of one (reason, action), of one CPU. */
struct counter {
	__u64 packets;
	__u64 bytes;
};

/* Value of the counters map: per-CPU array of one entry. */
struct counters {
	struct counter cell[REASON_SLOTS][ACTION_COUNT];
};

/* Value of the control map: array of one entry, written by the service. */
struct control {
	__u32 panic; /* other than 0: pass everything */
	__u32 reserved[15];
};

/*
 * Value of the scratch map: per-CPU array of one entry, private to the program. A value
 * that is written here and read back is unknown to the verifier, so that it follows the
 * paths that lead to one place as one path from there on.
 */
struct scratch {
	union {
		struct qname_key key;
		__u64 words[33]; /* the key, written eight bytes at a time */
	};
	__u32 traits;	  /* enum trait */
	__u32 rule;	  /* verdict of the rule that was hit, or NO_RULE */
	__u32 end;	  /* offset in the frame where a first fragment ends */
	__u16 network;	  /* offset of the IP header in the frame, bytes */
	__u16 transport;  /* offset of the UDP or TCP header */
	__u16 empty;	  /* EMPTY_BIT of maps that need no look-up */
	__u16 walk;	  /* offset of the next IPv6 extension header */
	__u16 data;	  /* offset of a first IPv6 fragment's data; 0: not one */
	__u8 walk_next;	  /* its number */
	__u8 name_length; /* octets of the question's name; 0: question not whole */
	__u8 lookups;	  /* enum name_lookup: the look-ups the name needs */
	__u8 reserved[223];
};

/*
 * The index of the keys in qnames. A bit that is 0 means that no such key exists; a bit
 * that is 1 means that one may exist. The bit of a key:
 *
 *   sum  = over the name's folded words, eight bytes each in host order, zero padded:
 *          number i * factors[2 * i] + its upper half * factors[2 * i + 1]
 *   word = the sum's upper INDEX_WORD_BITS bits
 *   bit  = the six bits below them ^ the upper six of (__u16)(type + 1) * type_factor
 *
 * All bits of one name are in one word, whatever their types, and zeros after a name
 * change nothing. All arithmetic is modulo 2^64.
 *
 * The factors are random and secret: only root and the service can read this map. A
 * service that takes over the map of an earlier one keeps them. Each factor has 64 bits
 * for a half word of 32 (factors[2 * i] for the lower half; the sum of both factors'
 * effects for the upper half). So for any two names chosen without knowledge of the
 * factors, the upper 32 bits of their sums are equal with a probability of 2^-32
 * (multilinear hashing; with the powers of one factor, or with whole words, flipping two
 * bits would give a collision). An attacker who could choose names that share a bit with
 * blocked ones would cause a look-up for each of them.
 */
#define INDEX_WORD_BITS 13
#define INDEX_WORDS	(1 << INDEX_WORD_BITS)
#define INDEX_FACTORS	64

/*
 * The index's `empty` holds one bit for each map that can be reported empty, and a tick
 * above these bits. A map with such a bit has a number below EMPTY_TICK_SHIFT.
 */
#define EMPTY_BIT(map)	 ((__u64)1 << (map))
#define EMPTY_TICK_SHIFT 16

/*
 * Value of the index: array of one entry, written by the service in place.
 *
 * The heartbeat is the tick (jiffies) read before a walk over all of qnames, times two.
 * It is written when every key found has its bit. The program uses the index while the
 * heartbeat is at most `fresh` ticks old. A key written to qnames at time W is found by
 * every walk that begins after W. A packet that arrives at most `fresh` ticks after a
 * heartbeat arrives less than fresh + 1 ticks after the start of that walk. So every key
 * written earlier than that before the packet is found. The service takes the greatest
 * `fresh` for which this is at most 60 ms; PACKETS.md allows 100 (HZ = 100: 5 ticks,
 * 250: 14). It walks every 20 ms, so the heartbeat is normally at most 20 ms, one tick
 * and one walk old; the rest is for late wake-ups. A later heartbeat, or none, costs time
 * (the full look-ups) but never misses an entry. If no packet asked for the index, the
 * service does not walk and the heartbeat grows old.
 *
 * `empty` has its own heartbeat in the same word, so that a packet reads both at once:
 * the tick before the service looked into the maps, and the bits of those without an
 * entry. (A look-up in an empty map costs as much as in a full one.) It is valid for as
 * long as the index, also if there are too many names for the bitmaps. A map that the
 * service does not look at never has its bit.
 *
 * There are two bitmaps: bits are only removed by building a new bitmap and switching to
 * it. The lowest bit of the heartbeat selects the bitmap in use.
 */
struct name_index {
	__u64 heartbeat; /* 0: do not use the index */
	__u64 fresh;	 /* ticks */
	__u64 ticks;	 /* a small program of the service writes the clock here */
	__u64 asked;	 /* written by the filter: when it last used the index */
	__u64 empty;	 /* tick << EMPTY_TICK_SHIFT | EMPTY_BIT of each map without entries */
	__u64 type_factor;
	__u64 reserved[2];
	__u64 factors[INDEX_FACTORS];
	__u64 words[2 * INDEX_WORDS];
};

#define ABI_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has another size")
#define ABI_OFFSET(type, field, offset) \
	_Static_assert(__builtin_offsetof(type, field) == (offset), #type "." #field " moved")

ABI_SIZE(struct addr_v4_key, 4);
ABI_SIZE(struct addr_v6_key, 16);
ABI_SIZE(struct cidr4_key, 8);
ABI_OFFSET(struct cidr4_key, saddr_be, 4);
ABI_SIZE(struct cidr6_key, 20);
ABI_OFFSET(struct cidr6_key, saddr_be, 4);
ABI_SIZE(struct qname_key, 258);
ABI_OFFSET(struct qname_key, zero, 255);
ABI_OFFSET(struct qname_key, qtype, 256);
ABI_SIZE(struct rule_value, 16);
ABI_OFFSET(struct rule_value, action, 8);
ABI_OFFSET(struct rule_value, unused, 9);
ABI_SIZE(struct xsk_destination_v4, 8);
ABI_OFFSET(struct xsk_destination_v4, port_be, 4);
ABI_SIZE(struct xsk_destination_v6, 20);
ABI_OFFSET(struct xsk_destination_v6, port_be, 16);
ABI_SIZE(struct counter, 16);
ABI_OFFSET(struct counter, bytes, 8);
ABI_SIZE(struct counters, 2048);
ABI_SIZE(struct control, 64);
ABI_SIZE(struct scratch, 512);
ABI_OFFSET(struct scratch, traits, 264);
ABI_SIZE(struct name_index, 64 + 8 * INDEX_FACTORS + 16 * INDEX_WORDS);
ABI_OFFSET(struct name_index, fresh, 8);
ABI_OFFSET(struct name_index, ticks, 16);
ABI_OFFSET(struct name_index, asked, 24);
ABI_OFFSET(struct name_index, empty, 32);
ABI_OFFSET(struct name_index, type_factor, 40);
ABI_OFFSET(struct name_index, factors, 64);
ABI_OFFSET(struct name_index, words, 64 + 8 * INDEX_FACTORS);

_Static_assert(MAP_QNAMES < EMPTY_TICK_SHIFT && MAP_XSK_DESTINATIONS_V4 < EMPTY_TICK_SHIFT &&
		       MAP_XSK_DESTINATIONS_V6 < EMPTY_TICK_SHIFT,
	       "the EMPTY_BIT of a map would be in the tick");

#define ABI_EMPTY_BIT(map) _Static_assert((map) < EMPTY_TICK_SHIFT, #map " has no EMPTY_BIT")

ABI_EMPTY_BIT(MAP_ADDR_V4);
ABI_EMPTY_BIT(MAP_ADDR_V6);
ABI_EMPTY_BIT(MAP_CIDR4);
ABI_EMPTY_BIT(MAP_CIDR6);
ABI_EMPTY_BIT(MAP_QNAMES);

#endif
