/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The binary contract: what the program on the network card, the service and
 * the DNS server agree on. Its one mirror in Python is xdpctl/abi.py; a test
 * compares every number, size and offset. Nothing here is ever renumbered.
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
	REASON_COUNT = 15,
	REASON_SLOTS = 32, /* room for later reasons without a new layout */
};

/*
 * Which map an instruction means. The compiled program carries these numbers
 * where the kernel wants file descriptors; the loader puts the descriptors in.
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

/* Value of the five rule maps. The last seven bytes are never to be read. */
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
	__u32 panic; /* not 0: pass everything */
	__u32 reserved[15];
};

/*
 * Value of the scratch map: per-CPU array of one entry, the program's own. What
 * is put here and read back is unknown to the verifier, so that all the ways
 * that lead to one place are one way from there on.
 */
struct scratch {
	union {
		struct qname_key key;
		__u64 words[33]; /* the key, to be written eight bytes at a time */
	};
	__u32 traits;	  /* enum trait */
	__u32 rule;	  /* verdict of the rule that was hit, or NO_RULE */
	__u32 end;	  /* offset in the frame where a first fragment ends */
	__u16 network;	  /* offset of the IP header in the frame, bytes */
	__u16 transport;  /* offset of the UDP or TCP header */
	__u16 empty;	  /* EMPTY_BIT of maps that are not to be looked into */
	__u16 walk;	  /* offset of the next IPv6 extension header */
	__u16 data;	  /* offset of a first IPv6 fragment's data; 0: it is none */
	__u8 walk_next;	  /* its number */
	__u8 name_length; /* octets of the question's name; 0: no whole question */
	__u8 lookups;	  /* enum name_lookup: those of the name that are needed */
	__u8 reserved[223];
};

/*
 * The index of qnames' keys: a bit that is 0 says that no such key is there, a
 * bit that is 1 that one may be. Which bit is a key's:
 *
 *   sum  = over the name's folded words, eight bytes each in host order, zero padded:
 *          number i * factors[2 * i] + its upper half * factors[2 * i + 1]
 *   word = the sum's upper INDEX_WORD_BITS bits
 *   bit  = the six bits below them ^ the upper six of (__u16)(type + 1) * type_factor
 *
 * So the bits of one name are in one word, whatever their types, and zeros behind a name
 * change nothing. All of it modulo 2^64.
 *
 * The factors are random and the service's secret: nobody but root and the service reads
 * this map. A service that goes on with a former one's map leaves them as they are. Each has
 * 64 bits, for half words of 32 (of the lower half, factors[2 * i]; of the upper one, what
 * both make together): so whatever two names somebody chooses who does not know them,
 * the upper 32 bits of their sums are equal with a chance of 2^-32 (multilinear hashing; for
 * one factor and its powers, or for whole words, two bits turned over would do). Who could
 * choose names that share a bit with blocked ones would have each of them looked up.
 */
#define INDEX_WORD_BITS 13
#define INDEX_WORDS	(1 << INDEX_WORD_BITS)
#define INDEX_FACTORS	64

/*
 * In the index's `empty`: a bit of each map that may be called empty, the tick above them.
 * A map with such a bit has a number below EMPTY_TICK_SHIFT.
 */
#define EMPTY_BIT(map)	 ((__u64)1 << (map))
#define EMPTY_TICK_SHIFT 16

/*
 * Value of the index: array of one entry, written by the service in place.
 *
 * The heartbeat is the tick (jiffies) that was read before a walk over all of
 * qnames, times two, written when every key found has its bit. The program
 * believes the index while the heartbeat is at most `fresh` ticks old. What was
 * written to qnames at W is in every walk begun after W; a packet that comes
 * `fresh` ticks or fewer after a heartbeat comes less than fresh + 1 ticks after
 * the start of that walk. So all that was written earlier than that before a
 * packet is found: the service takes the greatest `fresh` for which this is no
 * more than 60 ms, where PACKETS.md allows 100 (HZ = 100: 5 ticks, 250: 14).
 * It walks every 20 ms, so that the heartbeat is 20 ms, a tick and a walk old at
 * most while all goes well; the rest is for late wake-ups. Later than that, or
 * never, costs time, the full look-ups, but no entry. Nor does it walk for
 * nobody: where nothing was asked for, the heartbeat is left to grow old.
 *
 * `empty` is a heartbeat of its own, with what it says in the same word, so that a
 * packet reads both at once: the tick before the service looked into the maps, and
 * the bits of those that had no entry. A look-up in an empty map costs as much as in
 * a full one. It is believed as long, goes on where names are too many for the
 * bitmaps, and a map that is not looked at never has its bit.
 *
 * There are two bitmaps, as bits are only ever taken out by changing over to one
 * that is made anew: the lowest bit of the heartbeat says which one is in force.
 */
struct name_index {
	__u64 heartbeat; /* 0: not to be used */
	__u64 fresh;	 /* ticks */
	__u64 ticks;	 /* where a small program of the service puts the clock */
	__u64 asked;	 /* written by the filter: when it last wanted to know something */
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
	       "the bit of a map that may be called empty would be in the tick");

#define ABI_EMPTY_BIT(map) _Static_assert((map) < EMPTY_TICK_SHIFT, #map " has no EMPTY_BIT")

ABI_EMPTY_BIT(MAP_ADDR_V4);
ABI_EMPTY_BIT(MAP_ADDR_V6);
ABI_EMPTY_BIT(MAP_CIDR4);
ABI_EMPTY_BIT(MAP_CIDR6);
ABI_EMPTY_BIT(MAP_QNAMES);

#endif
