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
	REASON_LIMIT = 19,
	REASON_UNPROVEN = 20,
	REASON_ZONE_LIMIT = 21,
	REASON_COUNT = 22,
	REASON_SLOTS = 32, /* room for later reasons without a new layout */
};

/*
 * Rows of the table of counters that are no reason, numbered from its end: of what was looked
 * up on the way. Packets of action 0: it was not good, of action 1: it was.
 */
#define ROW_COOKIES 30 /* DNS cookies that were checked: good */
#define ROW_PROOFS  31 /* sockets that were asked for: an established connection's */

/* Another such row, which is a struct sampling. */
#define SAMPLE_ROW 29

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
	MAP_TABLE_HEAD = 13,
	MAP_NAME_TABLE = 14,
	MAP_NAME_FILTER = 15,
	MAP_SOURCE_TABLE = 16,
	MAP_SOURCE_FILTER = 17,
	MAP_TABLE_REQUESTS = 18,
	MAP_FORMER_NAMES = 19,	 /* name-table of the tables before, while a table grows */
	MAP_FORMER_SOURCES = 20, /* source-table of the same */
	MAP_LIMITS = 21,
	MAP_LIMIT_CELLS = 22,
	MAP_LIMIT_PROVEN = 23,
	/* 24 to 26 are enum rule_table */
	MAP_FLOOD = 27,
	MAP_EXEMPT4 = 28,
	MAP_EXEMPT6 = 29,
	MAP_ZONE_LIMITS = 30,
	MAP_ZONE_NAMES = 31,
	MAP_ZONE_CELLS = 32,
	MAP_HEAVY_ZONES = 33,
	MAP_ZONE_HEAD = 34,
	MAP_SAMPLES = 35,
	MAP_SAMPLE_STATE = 36,
};

/*
 * The three maps of rules that are ours alone. They have no kernel map of their own: zones
 * and list-names share name-table, list-sources is source-table. The state file uses these
 * numbers as it uses those of the shared maps.
 */
enum rule_table {
	TABLE_ZONES = 24,
	TABLE_LIST_SOURCES = 25,
	TABLE_LIST_NAMES = 26,
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

/* A suffix of the question's name that may have a rule in name-table. */
struct candidate {
	__u64 a; /* its sums */
	__u64 b;
	__u64 where; /* which rules it may have, and whether it is the whole name */
};

/* A word of an IPv6 source, and the sums of all else that does not depend on the length. */
struct source_part {
	__u64 a;
	__u64 b;
	__u64 word;
};

#define LIMIT_LEVELS  4 /* prefixes of a family that have accounts, at most */
#define FLOOD_BUCKETS 2 /* X: anybody's; Y: for proven sources */

/*
 * Value of the scratch map: per-CPU array of one entry, private to the program. A value
 * that is written here and read back is unknown to the verifier, so that it follows the
 * paths that lead to one place as one path from there on.
 */
struct scratch {
	union {
		struct qname_key key;
		__u64 words[33]; /* the key, written eight bytes at a time */
		struct cidr4_key prefix4;
		struct {
			__u32 unused;
			struct cidr6_key key; /* its address in whole words */
		} prefix6;
		struct xsk_destination_v4 destination4;
		struct xsk_destination_v6 destination6;
		/* The ends of a TCP connection, in wire order: source first. */
		struct {
			__u32 saddr_be;
			__u32 daddr_be;
			__u32 ports_be;
		} ends4;
		struct {
			__u32 addresses_be[8];
			__u32 ports_be;
		} ends6;
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
	__u8 labels;	  /* of the question's name, root not counted */
	__u8 unit;	  /* number of the first label of the unit that is read */
	__u8 slot;	  /* of a bucket, that has a tag */
	__u8 count;	  /* of candidates */
	__u8 left;	  /* candidates that were not asked for yet */
	__u8 base;	  /* number of the lowest bit of `lengths` */
	__u8 looks;	  /* units from this number on have no word in the filter */
	__u16 where;	  /* rules of a candidate that were not asked for yet */
	__u8 book;	  /* enum book, of which a rule is asked */
	__u64 lengths;	  /* of prefixes that were not asked for yet */
	__u64 found;	  /* lengths that may have a rule, by the filter */
	__u64 value;	  /* of a slot */
	__u32 number;	  /* of a word or bucket that is looked up */
	__u8 starts[128]; /* where each label starts, octets from the name's first */
	union {
		struct candidate candidates[18];
		struct source_part parts[4]; /* by the prefix's bits of the host, / 64 */
	};
	/* Of the table program. */
	__u64 tag;
	__u64 place;   /* of an entry: the number of its bucket, two bits its slot */
	__u64 writes;  /* 1: the bits of the request's key are set in the filter */
	__u64 steps;   /* length of the path, less one */
	__u64 path[8]; /* places of entries that make room for one */
	/* Of the limits. */
	__u64 sums[LIMIT_LEVELS];     /* of the source's prefixes, before an account's salt */
	__u64 spent[LIMIT_LEVELS];    /* by each prefix, from the account that is read */
	__u8 cell[LIMIT_LEVELS];      /* its word's number in its set, and CELL_OTHERS */
	__u32 turn;		      /* limited packets since one was answered */
	__u64 tickets[FLOOD_BUCKETS]; /* that this CPU has left */
	__u32 sets[LIMIT_LEVELS];     /* numbers of those of the account that is read */
	__u16 tags[LIMIT_LEVELS];     /* of its words */
	__u64 now;		      /* its time */
	__u32 tariff;		      /* where its prices are, octets from the first ones */
	__u8 dearer;		      /* shift of its prices */
	__u8 ticket;		      /* enum ticket */
	__u8 known;		      /* enum knowledge */
	__u8 depth;		      /* labels of the zone whose rule decides */
	__u32 verdict;		      /* of the stages before */
	__u32 option;		      /* offset of the next EDNS option, then of a cookie's data */
	__u8 reserved[40];
	/* Of the limits of zones. */
	__u64 zone_a; /* the sums of a suffix of the question's name */
	__u64 zone_b;
	__u64 zone_price; /* of the zone that was found last */
	__u64 zone_room;
	__u64 zone_most;
	__u64 zone_until; /* the account's time, now at least */
	__u64 heavy_a;
	__u64 heavy_b;
	__u32 zone_number; /* of the zone, and of its account and names */
	__u32 zone_bucket; /* that is looked up among the names */
	__u32 heavy_turn;  /* names since one was counted */
	__u8 zone_start;   /* the first octet of the label that was not read */
	__u8 zone_stop;	   /* behind that label */
	__u8 zone_unit;	   /* its number */
	__u8 zone_state;   /* enum zone_state */
	__u8 zone_depth;   /* labels of the zone that was found last */
	__u8 zone_reserved[31];
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

/*
 * Our own tables of rules: names with zones, and sources. Each is an array of buckets of
 * one cache line, with a filter before it that most packets need not pass. The sizes are
 * in the head and powers of two: a table that grows is another set of maps.
 *
 * A tag stands for a key. It is 60 bits of two sums over the key's words of 64 bits (lo
 * and hi are a word's halves, k the secret keys of the word's number), modulo 2^64:
 *
 *   a = seed + (k0 + lo) * (k1 + hi) + ...    b = seed + (k2 + lo) * (k3 + hi) + ...
 *   tag = a's upper 32 bits, b's upper 28 bits, 1 bit book, 2 bits scope, 1
 *
 * Each half is strongly universal (pair-multiply-shift): without the keys, two different
 * keys have one tag with a probability of 2^-60, whoever chose them. An entry is in one of
 * two buckets, whose numbers follow from its tag alone (table.h). So an entry can move, and
 * a table can grow, without the key.
 *
 * The words of a name: its labels from the root on, each with its length octet, padded
 * with zeros to a whole number of words, folded as names are. The labels in front of the
 * sixteenth from the root are one last unit, padded as a label is: no zone is that deep.
 * A rule for one query type has one more term: (type_keys + type) twice, as a word.
 *
 * The words of an IPv4 source: the address without host bits and the length. Of an IPv6
 * source: the two halves of the address without host bits, and the length.
 *
 * A reader compares tags and needs no lock. A writer writes the value before the tag, and
 * clears the tag before the value. It copies an entry to its other bucket, counts `moves`,
 * then clears it in the first one: a reader who finds nothing, but another `moves` than
 * before, looks again.
 */
#define TABLE_LAYOUT	  4
#define TABLE_SLOTS	  4 /* in a bucket */
#define TABLE_REQUESTS	  4096
#define TABLE_LEVELS	  16  /* labels of the deepest zone */
#define TABLE_NAME_WORDS  48  /* 46 are the most that a name has */
#define TABLE_SOURCE_BITS 24  /* of an IPv4 address: the finest map of those with an entry */
#define TABLE_EXACT	  255 /* prefix length that stands for an exact address */

/* A tag's lowest bits. */
#define TAG_ENTRY 1
#define TAG_SCOPE 1 /* shift */
#define TAG_BOOK  3 /* shift */
#define TAG_BITS  4

#define SPREAD 0x9e3779b97f4a7c15ULL /* odd: 2^64 by the golden ratio */

/* A slot's value: hits, eight bits to the left, its action, and this. 0: no entry. */
#define SLOT_ACTION 0x03
#define SLOT_USED   0x80
#define SLOT_HITS   8 /* shift */

/*
 * The word `names` of the head: the number of the filter's words less one, and these.
 * Without an entry of a book its bit is 0, and a packet pays for one load.
 */
#define NAMES_TYPED    ((__u64)1 << 33) /* a rule for one query type */
#define NAMES_OPERATOR ((__u64)1 << 34)
#define NAMES_LISTS    ((__u64)1 << 35)
#define NAMES_ROOT     ((__u64)1 << 36) /* a rule for the root, which has no filter word */
#define NAMES_TOP      ((__u64)1 << 37) /* a rule for a name of one label */

/* The word `sources`: the number of words of IPv6 in the filter less one, and these. */
#define SOURCES_V4    ((__u64)1 << 33)
#define SOURCES_V6    ((__u64)1 << 34)
#define SOURCES_SHIFT 40 /* shift of the number of bits that an IPv4 address loses in the map */

struct table_slot {
	__u64 tag; /* 0: empty */
	__u64 value;
};

struct table_bucket {
	struct table_slot slot[TABLE_SLOTS];
};

/* Keys of one word. */
struct word_keys {
	__u64 a_low;
	__u64 a_high;
	__u64 b_low;
	__u64 b_high;
};

/*
 * The name filter: as many words as `names` says. Of each suffix of a name, the word is
 * number a >> 32, and these bits (six bits of the sums each) are set:
 *
 *   here      every suffix that has an entry at it or below it
 *   deeper    every suffix that has an entry below it
 *   zone      a zone rule of either book    own      beside it, a zone rule of the operator
 *   listed    beside it, a zone rule of a list
 *   self      two bits: an exact name of a list
 *
 * Those of a rule for one type are moved by that type's six bits.
 *
 * The source filter has lines of eight words. First, one line for every 2^(shift + 8)
 * addresses of IPv4: a packet needs one line to know whether any entry is near its source,
 * of which lengths they are there, and whether one of them may be its own
 * (three bits for each entry, one in each word of `bits`). A prefix that is longer than its
 * line is in all the lines that it covers. Behind them are the words of IPv6, by number
 * a >> 32, with two bits for each entry, and for the /24 and the /48 of each longer one.
 * The words whose numbers are those of the /24 or the /48 xor 1 and xor 2 have a bit for the
 * length of each longer one, as in lengths6[0] and lengths6[1].
 *
 * Bits are only set. Those of entries that were removed go with the generation: another one
 * follows when there are many of them (`removed` of the head).
 */

/* What the source filter knows of a piece of IPv4. */
struct source_line {
	__u64 map[4];  /* a bit for every 2^shift addresses: there is an entry */
	__u64 lengths; /* of entries here, as in lengths4 */
	__u64 bits[3];
};

/* Value of table-head: array of one entry. */
struct table_head {
	/* Read and written by the service. */
	__u64 layout;
	__u64 book_id; /* random; the state file has the same */
	__u64 dirty;   /* other than 0: a change is under way */
	__u64 zones;   /* number of entries of each table, kept by the table program */
	__u64 list_sources;
	__u64 list_names;
	__u64 removed[2]; /* entries, of names and of sources, since the tables were made */
	/* Written by the table program, and seldom read by the filter. */
	__u64 moves; /* of entries to their other bucket */
	__u64 reserved_too[7];
	/* What a packet needs of the head first. */
	__u64 names;	      /* state, see above */
	__u64 sources;	      /* state */
	__u64 name_buckets;   /* number of buckets less one */
	__u64 source_buckets; /* the same */
	__u64 lengths4;	      /* bit 0: exact addresses, bit 33 - n: prefixes of length n */
	__u64 lengths6[3];    /* bit 0: exact addresses, bit 129 - n */
	/* Secrets, and constants. */
	__u64 seed_a;
	__u64 seed_b;
	__u64 type_factor;
	__u64 reserved_three;
	struct word_keys type_keys;
	struct word_keys source4_keys;
	struct word_keys source6_keys[3];
	struct word_keys name_keys[TABLE_NAME_WORDS];
	__u8 bit_numbers[64]; /* number of the only bit in a word, by word * BIT_NUMBER >> 58 */
	__u8 reserved_four[64];
};

#define BIT_NUMBER 0x03f79d71b4cb0a89ULL /* de Bruijn's sequence of six bits */

/* Beside the action of OP_PUT: the entry's hits start at 0, as another claim is in force. */
#define ACTION_RENEW 0x80

/* What the table program is asked to do. */
enum table_op {
	OP_LOOK_UP = 1,
	OP_PUT = 2, /* make the entry, or give it the action; leave its hits without ACTION_RENEW */
	OP_REMOVE = 3,
	OP_ADD_HITS = 4, /* of `count` slots of the former table, from `number` on */
};

enum table_result {
	RESULT_PENDING = 0,
	RESULT_CREATED = 1,
	RESULT_CHANGED = 2, /* another action */
	RESULT_SAME = 3,    /* nothing to do */
	RESULT_FOUND = 4,   /* looked up, or removed; `value` is the slot's */
	RESULT_ABSENT = 5,
	RESULT_FULL = 6,    /* no room: the table is as it was */
	RESULT_INVALID = 7, /* not a request */
	RESULT_DONE = 8,    /* bits are set, slots carried over */
};

/* The first record of table-requests; the requests are behind it. */
struct table_queue {
	__u64 next;    /* number of the request that is done next, from 0 on */
	__u64 waiting; /* number of requests */
};

/* A request, and its answer in place. From `scope` or `family` on: the key as it is stored. */
struct table_request {
	__u8 op;      /* enum table_op */
	__u8 table;   /* enum rule_table */
	__u8 action;  /* enum rule_action, of PUT */
	__u8 result;  /* enum table_result */
	__u32 number; /* how far it is; CARRY: the next slot; afterwards: where the entry was */
	__u32 count;  /* CARRY: slots */
	__u32 tries;  /* how often room was looked for */
	__u64 value;  /* afterwards: the slot's value, before it was changed or removed */
	union {
		struct {
			__u8 unused_too[5];
			__u8 scope; /* enum zone_scope */
			__u16 qtype;
			__u8 name[256]; /* lower-case, in wire form */
		};
		struct {
			__u8 unused_three[6];
			__u8 family; /* 4 or 6 */
			__u8 length; /* of the prefix, or TABLE_EXACT */
			__u8 address_be[16];
		};
	};
};

/*
 * The limits (PACKETS.md, "Limits").
 *
 * limit-cells is an array of sets of four words. A word is an account: the time until which
 * a prefix has spent what it may, and a tag in the lower 16 bits.
 *
 *   now    = ticks * clock & ~0xffff
 *   spent  = (word & ~0xffff) - now; 0 if that is more than `most`: past, or never used
 *   price  of a packet; more where the prefix may have less, so that one `room` is for all
 *
 * A packet goes on if spent + price <= room for each of its source's prefixes. Then each has
 * spent its price more: the word is added to, if it is the prefix's own and more than half
 * of `room`, so that nothing is lost where CPUs add at once; else it is written. `most` is
 * more than `room` by what all CPUs can add at once, and a tick. All modulo 2^64.
 *
 * The word of a prefix is the one with its tag; else the first that has spent nothing; else
 * the one that has spent least, which it takes over with what that has spent. So a table
 * that is too small limits more, and never less. The place of a prefix follows from secrets:
 *
 *   h    = salts[account] + level * SPREAD + address * factors[0]                  (IPv4)
 *   h    = salts[account] + level * SPREAD + factors[1..4] by the four words        (IPv6)
 *   h   ^= h >> 32;  h *= mix
 *   set  = h >> 40 & sets;  tag = h >> 16 & 0xffff
 *
 * where address and words are in host order, without the bits behind the prefix.
 *
 * flood holds for each bucket the time until which it has given out tickets, in 2^20ths of
 * a tick. A CPU takes FLOOD_BATCH of them at once and keeps what it does not use.
 *
 *   spent  = until - (ticks << 20); 0 if that is more than the room and 1,024 batches: past
 *
 * A CPU may take a batch if spent + price <= room. While proven sources live on Y, a packet
 * costs their accounts 2^s times its price: s is the eighths of Y's room that are spent. So
 * a source that asks for much is refused long before one that asks for little, and those
 * who use the addresses of some resolvers do not take Y from the others. Who is refused for
 * that is refused as unproven.
 */
#define LIMITS_LAYOUT	  1
#define LIMITS_LIVE_SIZE  384
#define LIMIT_WORDS	  4	 /* in a set */
#define LIMIT_TAG_MASK	  0xffff /* of a word */
#define FLOOD_BATCH	  64	 /* tickets */
#define FLOOD_TIME_SHIFT  20
#define FLOOD_MOST_SHIFT  10 /* of batches that CPUs may take at one moment */
#define FLOOD_SHARE_STEPS 8  /* the greatest s */

/* An account's salt and prices. Each prefix has three accounts. */
enum limit_account {
	ACCOUNT_PLAIN = 0,
	ACCOUNT_PROVEN = 1, /* of a proven source, when the first one is spent */
	ACCOUNT_COOKIE = 2, /* of queries with a good cookie, the same; prices as for proven */
	ACCOUNT_COUNT = 3,
};

/* Price of one packet for each level; a multiple of 2^16. */
struct limit_prices {
	__u64 v4[LIMIT_LEVELS];
	__u64 v6[LIMIT_LEVELS];
};

/*
 * Value of limits: array of one entry, written by the service. Up to `sets` every field may
 * change at any time, and is valid by itself. From there on they stay while the map exists.
 */
struct limits {
	__u64 layout;  /* LIMITS_LAYOUT */
	__u64 dry_run; /* other than 0: what is over a limit goes on */
	__u64 slip;    /* each slip-th limited packet is answered; 0: none */
	__u64 clock;   /* what a tick is worth in `now`; 0: no limit by source */
	__u64 room;    /* what an account may have spent at one moment */
	__u64 most;    /* more than that is not spent, but past */
	__u64 flood_prices[FLOOD_BUCKETS]; /* of a batch; 0: no limit in total, no Y */
	__u64 flood_rooms[FLOOD_BUCKETS];
	__u64 cookie_keys[2][2]; /* SipHash keys as it reads them, the first octets first */
	__u64 cookie_rate;	 /* 2^32 / HZ */
	__u64 cookie_base;	 /* Unix time: ticks * cookie_rate + cookie_base >> 32 */
	__u32 cookie_keys_used;
	__u32 proven_lifetime; /* in 256 ticks, less than 2^23; 0: nobody is proven */
	__u64 reserved[7];
	struct limit_prices prices[2]; /* ACCOUNT_PLAIN, ACCOUNT_PROVEN */
	__u64 reserved_too[8];
	__u64 sets; /* number of sets less one, a power of two less one */
	__u32 proven_shift;
	__u32 reserved_three;
	__u64 factors[5];
	__u64 mix; /* odd */
	__u64 salts[ACCOUNT_COUNT];
	__u64 proven_keys[4];
	__u64 proven_mix;
};

/* Value of limit-cells: array. */
struct limit_set {
	__u64 word[LIMIT_WORDS];
};

/* Value of limit-proven: array (proven.h). */
struct proven_line {
	__u64 word[8];
};

/* Value of flood: array of one entry. */
struct flood {
	struct {
		__u64 until;
		__u64 unused[7]; /* a cache line each */
	} bucket[FLOOD_BUCKETS];
};

/*
 * Limits of zones (PACKETS.md, "Limits").
 *
 * A tag stands for a name: 62 bits of two sums over its words, as for the names of rules
 * (above), but each label is one unit however many there are, and the keys are zone-head's.
 *
 *   tag = (a's upper 32 bits, b's upper 32 bits), without ZONE_TAG_FLAGS
 *
 * zone-limits has the zones with a limit, by their tag; `levels` of zone-head says how many
 * labels they have. The longest one decides. zone-cells has the account of each: the time
 * until which it has spent what it may, in 2^24ths of a tick.
 *
 *   spent  = until - (ticks << 24); 0 if that is more than `most`: past, or never used
 *
 * A packet goes on if spent + price <= room; then the account has spent its price more.
 * From `ends` on, where it is not 0, every packet goes on and nothing is spent.
 *
 * zone-names has, for each zone whose names are known, an array of buckets with the tags of
 * the names that exist, also of those that only have names below them. So the first suffix
 * that is not there ends the search; what is longer than ZONE_LEVELS labels is not looked at,
 * and exists if they do. A tag is in one of two buckets: 1 + (the lower or the
 * upper 32 bits of its spread (table.h) & mask). Bucket 0 is a struct zone_names_head. The
 * array of a zone is replaced as a whole; in one that is in force, single words change.
 */
#define ZONES_LAYOUT	  1
#define ZONE_LEVELS	  40 /* labels that are looked at: reverse names have 34 */
#define ZONE_NAME_WORDS	  72 /* of so many labels, 254 octets at most */
#define ZONE_TAG_FLAGS	  3
#define ZONE_NAME_ENTRY	  1
#define ZONE_NAME_BELOW	  2 /* everything below exists: a wildcard, delegation or DNAME */
#define ZONE_BUCKET_WORDS 8
#define ZONE_TIME_SHIFT	  24
#define HEAVY_CELLS	  192
#define HEAVY_SHARE	  16 /* one of so many names is counted */
#define HEAVY_TEXT	  96 /* octets */

/* Value of zone-head: array of one entry. */
struct zone_head {
	__u64 layout; /* ZONES_LAYOUT */
	__u64 levels; /* bit n: there is a zone of n labels in zone-limits */
	__u64 reserved[4];
	/* Secrets; they stay while the map exists. */
	__u64 seed_a;
	__u64 seed_b;
	struct word_keys name_keys[ZONE_NAME_WORDS];
};

/* What is known of a zone's names. */
enum zone_knowledge {
	APEX_UNKNOWN = 0, /* so nothing below it exists */
	APEX_LISTED = 1,  /* in zone-names */
	APEX_WHOLE = 2,	  /* everything below it exists: it has a wildcard of its own */
};

/* Key of zone-limits: a tag. Value: */
struct zone_limit {
	__u64 price;  /* of one packet */
	__u64 room;   /* what may have been spent at one moment */
	__u64 most;   /* more than that is not spent, but past */
	__u32 number; /* of its account, and of its names */
	__u32 names;  /* enum zone_knowledge */
};

/* Value of zone-cells: array. */
struct zone_cell {
	__u64 until;
	__u64 ends;	 /* ticks; 0: never */
	__u64 unused[6]; /* a cache line each */
};

/* Value of an array in zone-names. */
struct zone_bucket {
	__u64 word[ZONE_BUCKET_WORDS]; /* 0, or tag | ZONE_NAME_ENTRY | perhaps ZONE_NAME_BELOW */
};

/* The first bucket. */
struct zone_names_head {
	__u64 layout; /* ZONES_LAYOUT */
	__u64 mask;   /* number of the other buckets less one, a power of two less one */
	__u64 names;  /* for people: number of entries */
	__u64 reserved[5];
};

/*
 * Value of heavy-zones: per-CPU array of one entry. A cell counts one end of two labels; an
 * end without a cell takes one from the count of the cell that it would have, and the cell
 * itself where that is 0.
 */
struct heavy_zones {
	__u64 names; /* that were counted */
	__u64 reserved[7];
	struct heavy_cell {
		__u64 tag; /* 0: none */
		__u64 count;
		__u64 fronts; /* a bit for each of 64 classes of what is in front of the end */
		__u64 length; /* octets of `end`, the root byte not among them */
		__u8 end[HEAVY_TEXT];
	} cell[HEAVY_CELLS];
};

/*
 * Samples of packets, passed and taken ones alike (samples.h). Of each block of N packets one
 * is written to the ring buffer, at a place that is drawn when the block begins: so every packet
 * is in the sample with a probability of 1 / N, whatever comes before or after it, and stands for
 * N packets. Each CPU has blocks of its own for each stratum. What is drawn and counted is in the
 * counters' SAMPLE_ROW, so that a packet that is not a sample touches nothing else.
 *
 * sample-state says whether anybody looks, by an epoch other than 0, and how many samples there
 * may be: a bucket for each stratum, for all CPUs together. A CPU that takes a sample beyond it
 * doubles the N of its next block at once. The service lowers N again. In a new epoch all blocks
 * begin anew, whether their sample was taken or not. The service begins one four times a second;
 * if none has begun for `patience` ticks, the service is gone, and the program sets the epoch to 0.
 */
#define SAMPLE_CPUS	   256 /* CPUs with a shift of their own; further ones share them */
#define SAMPLE_SHIFT_MAX   24
#define SAMPLE_TIME_SHIFT  20
#define SAMPLE_LENGTH_MAX  2048
#define SAMPLE_DEPTH_NONE  255
#define SAMPLE_HEADER_SIZE 24

enum stratum {
	STRATUM_PASSED = 0, /* and redirected */
	STRATUM_TAKEN = 1,  /* dropped, or answered with TC=1 */
	STRATUM_COUNT = 2,
};

/* A record of samples; the first octets of the frame, as it came in, are behind it. */
struct sample {
	__u64 time;	/* of CLOCK_MONOTONIC, nanoseconds */
	__u32 ifindex;	/* where it came in */
	__u32 weight;	/* packets that it stands for */
	__u32 length;	/* octets of the whole frame */
	__u16 captured; /* octets of it that are here */
	__u8 verdict;	/* reason << 2 | action */
	__u8 depth;	/* labels of the zone whose rule decided, or SAMPLE_DEPTH_NONE */
};

/* The counters' row SAMPLE_ROW, of one CPU. */
struct sampling {
	__u64 epoch;		     /* of the blocks */
	__u64 begun;		     /* ticks: when this CPU first saw the epoch */
	__u64 lost;		     /* samples that the ring buffer had no room for */
	__u32 left[STRATUM_COUNT];   /* packets before the next sample */
	__u32 rest[STRATUM_COUNT];   /* packets behind it in its block */
	__u32 weight[STRATUM_COUNT]; /* of it: packets in its block */
	__u64 reserved_sampling[2];
};

/* Value of sample-state: array of one entry. */
struct sample_state {
	__u64 epoch;		     /* 0: nobody looks */
	__u64 patience;		     /* ticks */
	__u64 prices[STRATUM_COUNT]; /* of a sample, in 2^20ths of a tick */
	__u64 rooms[STRATUM_COUNT];  /* what may have been spent at one moment */
	__u64 reserved_state[2];
	struct {
		__u64 until; /* as in struct flood */
		__u64 unused_bucket[7];
	} bucket[STRATUM_COUNT];
	struct {
		__u32 shift[STRATUM_COUNT]; /* the N of the next block is 1 << shift */
		__u32 unused_cpu[14];	    /* a cache line each */
	} cpu[SAMPLE_CPUS];
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
_Static_assert(REASON_COUNT <= SAMPLE_ROW && ROW_PROOFS < REASON_SLOTS, "a reason is no row");
ABI_SIZE(struct counters, 2048);
ABI_SIZE(struct control, 64);
ABI_SIZE(struct scratch, 1280);
ABI_OFFSET(struct scratch, traits, 264);
ABI_SIZE(struct name_index, 64 + 8 * INDEX_FACTORS + 16 * INDEX_WORDS);
ABI_OFFSET(struct name_index, fresh, 8);
ABI_OFFSET(struct name_index, ticks, 16);
ABI_OFFSET(struct name_index, asked, 24);
ABI_OFFSET(struct name_index, empty, 32);
ABI_OFFSET(struct name_index, type_factor, 40);
ABI_OFFSET(struct name_index, factors, 64);
ABI_OFFSET(struct name_index, words, 64 + 8 * INDEX_FACTORS);

ABI_SIZE(struct table_slot, 16);
ABI_OFFSET(struct table_slot, value, 8);
ABI_SIZE(struct table_bucket, 64);
ABI_SIZE(struct source_line, 64);
ABI_OFFSET(struct source_line, lengths, 32);
ABI_SIZE(struct table_head, 2048);
ABI_OFFSET(struct table_head, moves, 64);
ABI_OFFSET(struct table_head, names, 128);
ABI_OFFSET(struct table_head, seed_a, 192);
ABI_OFFSET(struct table_head, name_keys, 384);
ABI_OFFSET(struct table_head, bit_numbers, 1920);
ABI_OFFSET(struct table_queue, waiting, 8);
ABI_SIZE(struct table_request, 288);
ABI_OFFSET(struct table_request, value, 16);
ABI_OFFSET(struct table_request, scope, 29);
ABI_OFFSET(struct table_request, qtype, 30);
ABI_OFFSET(struct table_request, name, 32);
ABI_OFFSET(struct table_request, family, 30);
ABI_OFFSET(struct table_request, address_be, 32);

ABI_SIZE(struct limit_prices, 64);
ABI_SIZE(struct limits, 512);
ABI_OFFSET(struct limits, cookie_keys, 80);
ABI_OFFSET(struct limits, prices, 192);
ABI_OFFSET(struct limits, sets, LIMITS_LIVE_SIZE);
ABI_OFFSET(struct limits, proven_shift, 392);
ABI_OFFSET(struct limits, proven_keys, 472);
ABI_SIZE(struct limit_set, 32);
ABI_SIZE(struct proven_line, 64);
ABI_SIZE(struct flood, 128);

ABI_SIZE(struct zone_head, 64 + 32 * ZONE_NAME_WORDS);
ABI_OFFSET(struct zone_head, seed_a, 48);
ABI_SIZE(struct zone_limit, 32);
ABI_SIZE(struct zone_cell, 64);
ABI_OFFSET(struct zone_cell, ends, 8);
ABI_SIZE(struct zone_bucket, 64);
ABI_SIZE(struct zone_names_head, 64);
ABI_SIZE(struct heavy_zones, 64 + 128 * HEAVY_CELLS);

ABI_SIZE(struct sample, SAMPLE_HEADER_SIZE);
ABI_SIZE(struct sampling, ACTION_COUNT * sizeof(struct counter));
ABI_SIZE(struct sample_state, 192 + 64 * SAMPLE_CPUS);
ABI_OFFSET(struct sample_state, bucket, 64);
ABI_OFFSET(struct sample_state, cpu, 192);

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
