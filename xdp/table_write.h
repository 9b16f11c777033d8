/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the table program does with a request: finds its key's tag, sets its bits in the
 * filter, and writes its entry.
 */
#ifndef XDPCTL_TABLE_WRITE_H
#define XDPCTL_TABLE_WRITE_H

#include "table_names.h"
#include "table_sources.h"

#define PATH_MAX      8	 /* entries that move to make room for one */
#define PATH_STEPS    32 /* entries that are looked at for such a path, in one run */
#define PATH_TRIES    16 /* runs that look for one */
#define LINES_AT_ONCE 16 /* lines of the source filter that one run writes to */
#define EVERY_TYPE    65535
#define ALL_BITS      (~(__u64)0)
#define NO_PLACE      ALL_BITS

/* Sets bits of a word of a filter. Returns false if there is no such word. */
static __always_inline bool set_bits(enum map_ref filter, __u32 number, __u64 bits,
				     struct scratch *scratch)
{
	volatile __u64 *word = value_at(filter, number, scratch);

	if (!word)
		return false;
	if ((*word & bits) != bits)
		*word |= bits;
	return true;
}

static __always_inline __u64 bit_of(__u64 number)
{
	return (__u64)1 << (number & 63);
}

/* Sets bits of a suffix in the name filter. */
static __always_inline bool set_name_bits(const struct table_head *head, struct sums sums,
					  struct scratch *scratch, __u64 bits)
{
	return !scratch_get(scratch, writes) ||
	       set_bits(MAP_NAME_FILTER, filter_number(sums, head->names), bits, scratch);
}

/* The bits of a name's own suffix that say which rules it has. */
static __always_inline __u64 rule_bits(const struct table_head *head, struct sums sums,
				       const struct table_request *request)
{
	__u64 place = 0;

	if (request->qtype != EVERY_TYPE)
		place = type_place(head, request->qtype);
	if (request->scope == ZONE_SELF)
		return bit_of(BIT_SELF(sums) ^ place) | bit_of(BIT_SELF2(sums) ^ place);
	if (request->table == TABLE_ZONES)
		return bit_of(BIT_ZONE(sums) ^ place) | bit_of(BIT_OWN(sums) ^ place);
	return bit_of(BIT_ZONE(sums) ^ place) | bit_of(BIT_LISTED(sums) ^ place);
}

/* Notes in the head what a packet must ask for. */
static __always_inline void note_name(struct table_head *head, const struct table_request *request,
				      __u64 labels)
{
	__u64 state = head->names;

	state |= request->table == TABLE_ZONES ? NAMES_OPERATOR : NAMES_LISTS;
	if (request->qtype != EVERY_TYPE)
		state |= NAMES_TYPED;
	if (!labels)
		state |= NAMES_ROOT;
	if (labels == 1)
		state |= NAMES_TOP;
	if (state != head->names)
		head_get(head, names) = state;
}

/*
 * Writes to the scratch where the labels of the request's name start, their number, and the
 * length of the name. Returns false if it is not a name.
 */
static __always_inline bool label_starts(const struct table_request *request,
					 struct scratch *scratch)
{
	__u64 at = 0;

	for (__u64 i = 0; i < DNS_LABELS_MAX; i++) {
		__u64 length = request->name[at & 255];

		if (!length) {
			scratch_put(scratch, labels, i);
			scratch_put(scratch, name_length, at + 1);
			return true;
		}
		scratch->starts[i] = at;
		at += length + 1;
		if (length > DNS_LABEL_MAX || at >= ABI_NAME_MAX)
			break;
	}
	return false;
}

/*
 * Gives the sums of the request's name, and sets its bits in the filter on the
 * way. Returns false if it is not a name, or a zone that is too deep.
 */
static __always_inline bool name_sums(struct table_head *head, struct table_request *request,
				      struct scratch *scratch, struct sums *sums)
{
	struct name_walk walk = {.sums = {head->seed_a, head->seed_b}};
	struct name_text text = {request->name, NULL, false};
	bool ended = false;
	__u64 labels;

	if (request->scope > ZONE_BELOW || !label_starts(request, scratch))
		return false;
	labels = scratch_get(scratch, labels);
	if (labels > TABLE_LEVELS && request->scope != ZONE_SELF)
		return false;
	if (scratch_get(scratch, writes))
		note_name(head, request, labels);
	ended = !labels;
	scratch_put(scratch, unit, labels - 1);
	walk.start = scratch->starts[(labels - 1) & 127];
	walk.stop = (scratch_get(scratch, name_length) - 1) & 255;
	for (__u64 i = 0; i < NAME_WORDS_MAX && !ended; i++) {
		__u64 unit;
		__u64 bits;

		if (walk_word(&walk, head, i, text) == STEP_INSIDE)
			continue;
		unit = scratch_get(scratch, unit);
		ended = !unit;
		bits = bit_of(BIT_HERE(walk.sums));
		bits |= ended ? rule_bits(head, walk.sums, request) : bit_of(BIT_DEEPER(walk.sums));
		if (!set_name_bits(head, walk.sums, scratch, bits))
			return false;
		walk.stop = scratch->starts[unit & 127];
		unit = next_unit(unit, scratch_get(scratch, labels));
		scratch_put(scratch, unit, unit);
		walk.start = scratch->starts[unit & 127];
	}
	*sums = walk.sums;
	if (request->qtype != EVERY_TYPE)
		*sums = typed_sums(walk.sums, head, request->qtype);
	return ended;
}

/* Sets bits of a word that is read without a lock, if they are not set. */
static __always_inline void set_word(__u64 *word, __u64 bits)
{
	volatile __u64 *there = word;

	if ((*there & bits) != bits)
		*there |= bits;
}

/* What an IPv4 entry sets in each of its lines. */
struct line_bits {
	__u64 map[4];
	__u64 length;
	struct sums sums;
};

/* The part of word `word` of a line's map that a range of `count` bits from `first` has. */
static __always_inline __u64 map_part(__u64 first, __u64 count, __u64 word)
{
	__u64 words = count >> 6; /* whole ones; they begin at a multiple of their number */

	if (words)
		return (word & ~(words - 1)) == (first >> 6 & 3 & ~(words - 1)) ? ALL_BITS : 0;
	return word == (first >> 6 & 3) ? (((__u64)1 << (count & 63)) - 1) << (first & 63) : 0;
}

static __always_inline void set_line(struct source_line *line, const struct line_bits *bits)
{
	volatile struct source_line *there = line;
	__u64 one = bit_of(BIT_SOURCE(bits->sums));
	__u64 two = bit_of(BIT_SOURCE2(bits->sums));
	__u64 three = bit_of(BIT_SOURCE3(bits->sums));
	__u64 missing = (bits->length & ~there->lengths) | (one & ~there->bits[0]) |
			(two & ~there->bits[1]) | (three & ~there->bits[2]);

	for (int i = 0; i < 4; i++)
		missing |= bits->map[i] & ~there->map[i];
	if (!missing)
		return;
	there->bits[0] |= one;
	there->bits[1] |= two;
	there->bits[2] |= three;
	there->lengths |= bits->length;
	for (int i = 0; i < 4; i++)
		there->map[i] |= bits->map[i];
}

/*
 * Sets the bits of an IPv4 source in the lines that it is in. Those of a short prefix take
 * several runs.
 */
static __always_inline enum table_result set_address_bits(const struct table_head *head,
							  struct table_request *request,
							  struct sums sums, __u64 address,
							  __u64 number, struct scratch *scratch)
{
	__u64 shift = address_shift(head->sources);
	__u64 host = host_bits(number) & 63;
	__u64 first = (address >> host << host) >> shift;
	__u64 count = host > shift ? (__u64)1 << ((host - shift) & 31) : 1; /* bits of the map */
	__u64 lines = count >> 8 ? count >> 8 : 1;
	struct line_bits bits = {.length = bit_of(number), .sums = sums};

	for (int i = 0; i < 4; i++)
		bits.map[i] = map_part(first, count >> 8 ? 256 : count, i);
	for (__u64 i = 0; i < LINES_AT_ONCE; i++) {
		struct source_line *line;

		if (request->number >= lines)
			return RESULT_DONE;
		line = value_at(MAP_SOURCE_FILTER, (first >> 8) + request->number, scratch);
		if (!line)
			return RESULT_INVALID;
		set_line(line, &bits);
		request->number++;
	}
	return RESULT_PENDING;
}

/*
 * Sets two bits of an IPv6 key in the source filter. `lengths`: of a node, the length of an
 * entry in it, as in lengths6.
 */
static __always_inline bool set_source_bits(const struct table_head *head, struct sums sums,
					    const struct node_lengths *lengths,
					    struct scratch *scratch)
{
	__u64 number = word_number(sums, head->sources);
	__u64 *line = value_at(MAP_SOURCE_FILTER, number >> 3, scratch);

	if (!line)
		return false;
	opaque(number);
	set_word(&line[number & 7], bit_of(BIT_SOURCE(sums)) | bit_of(BIT_SOURCE2(sums)));
	if (lengths) {
		set_word(&line[NODE_LENGTHS(number, 0)], lengths->word[0]);
		set_word(&line[NODE_LENGTHS(number, 1)], lengths->word[1]);
	}
	return true;
}

/* The sums of an IPv4 source; sets its bits in the filter. */
static __always_inline enum table_result ipv4_sums(struct table_head *head,
						   struct table_request *request,
						   struct scratch *scratch, struct sums *sums)
{
	__u32 address = be32(load32(request->address_be));
	__u64 number = 0;

	if (request->length != TABLE_EXACT) {
		if (request->length >= LENGTH4_MAX)
			return RESULT_INVALID;
		number = LENGTH4_MAX - request->length;
	}
	*sums = sums_of_ipv4(head, address, number);
	if (!scratch_get(scratch, writes))
		return RESULT_DONE;
	head_get(head, lengths4) = head->lengths4 | bit_of(number);
	head_get(head, sources) = head->sources | SOURCES_V4;
	return set_address_bits(head, request, *sums, address, number, scratch);
}

/* The same of an IPv6 source. */
static __always_inline enum table_result ipv6_sums(struct table_head *head,
						   struct table_request *request,
						   struct scratch *scratch, struct sums *sums)
{
	struct address6 address = {be64(load64(request->address_be)),
				   be64(load64(request->address_be + 8))};
	volatile __u64 *known = head->lengths6;
	struct node_lengths lengths = {};
	__u64 number = 0;

	if (request->length != TABLE_EXACT) {
		if (request->length >= LENGTH6_MAX)
			return RESULT_INVALID;
		number = LENGTH6_MAX - request->length;
	}
	address = without_host(address, host_bits(number));
	*sums = sums_of_ipv6(head, address, number);
	if (!scratch_get(scratch, writes))
		return RESULT_DONE;
	if (!set_source_bits(head, *sums, NULL, scratch))
		return RESULT_INVALID;
	if (number < 64)
		lengths.word[0] = bit_of(number);
	else
		lengths.word[1] = bit_of(number);
	if (number < NUMBER6_24 &&
	    !set_source_bits(head, sums_of_node(head, address, NODE_24), &lengths, scratch))
		return RESULT_INVALID;
	if (number < NUMBER6_48 &&
	    !set_source_bits(head, sums_of_node(head, address, NODE_48), &lengths, scratch))
		return RESULT_INVALID;
	if (number < 64)
		known[0] |= bit_of(number);
	else if (number < 128)
		known[1] |= bit_of(number);
	else
		known[2] |= bit_of(number);
	head_get(head, sources) = head->sources | SOURCES_V6;
	return RESULT_DONE;
}

/* Puts a tag and a value into an empty slot. */
static __always_inline void fill_slot(struct table_slot *slot, __u64 tag, __u64 value)
{
	*(volatile __u64 *)&slot->value = value;
	*(volatile __u64 *)&slot->tag = tag;
}

static __always_inline void clear_slot(struct table_slot *slot)
{
	*(volatile __u64 *)&slot->tag = 0;
	*(volatile __u64 *)&slot->value = 0;
}

/* The bucket that an entry may have beside this one. */
static __always_inline __u32 other_bucket(__u64 tag, __u64 mask, __u32 bucket)
{
	__u32 first = first_bucket(tag, mask);

	return bucket == first ? second_bucket(tag, mask) : first;
}

/* The slot at a place; NULL if that is no place. */
static __always_inline struct table_slot *slot_at(enum map_ref table, __u64 place,
						  struct scratch *scratch)
{
	struct table_bucket *bucket = value_at(table, place >> 2, scratch);

	return bucket ? &bucket->slot[place & 3] : NULL;
}

/*
 * Writes to the scratch where a bucket has this tag, or 0 for an empty slot. Returns false
 * if it has not.
 */
static __always_inline bool find_place_in(enum map_ref table, __u32 number, __u64 tag,
					  struct scratch *scratch)
{
	struct table_bucket *bucket = value_at(table, number, scratch);
	__u64 found = NO_PLACE;

	if (bucket)
		for (__u64 i = 0; i < TABLE_SLOTS; i++)
			if (*(volatile __u64 *)&bucket->slot[i].tag == tag)
				found = (__u64)number << 2 | i;
	scratch_put(scratch, place, found);
	return scratch_get(scratch, place) != NO_PLACE;
}

/* The same for the two buckets of a key's tag. */
static __always_inline bool find_place(enum map_ref table, __u64 mask, __u64 key, __u64 tag,
				       struct scratch *scratch)
{
	return find_place_in(table, first_bucket(key, mask), tag, scratch) ||
	       find_place_in(table, second_bucket(key, mask), tag, scratch);
}

/*
 * Moves an entry to an empty place in its other bucket. Returns false if it has another, or
 * but one: a reader would find it twice in it.
 */
static __always_inline bool move_entry(struct table_head *head, enum map_ref table, __u64 mask,
				       __u64 from, __u64 to, struct scratch *scratch)
{
	struct table_slot *old = slot_at(table, from, scratch);
	struct table_slot *new = slot_at(table, to, scratch);
	__u64 tag;

	if (!old || !new)
		return false;
	tag = old->tag;
	if (!tag || new->tag || from >> 2 == to >> 2 ||
	    other_bucket(tag, mask, from >> 2) != to >> 2)
		return false;
	fill_slot(new, tag, old->value);
	head_get(head, moves) = head->moves + 1;
	clear_slot(old);
	return true;
}

/*
 * Looks for a path of entries, each of which can move to where the next one is, and the last
 * to an empty slot. Writes it, and the empty place, to the scratch.
 */
static __always_inline bool find_path(enum map_ref table, __u64 mask, __u64 tag, __u64 random,
				      struct scratch *scratch)
{
	__u32 bucket = first_bucket(tag, mask);

	for (__u64 i = 0; i < PATH_STEPS; i++) {
		__u64 length = i % PATH_MAX;
		struct table_slot *slot;

		if (i && !length) /* again, from the other bucket */
			bucket = i / PATH_MAX & 1 ? second_bucket(tag, mask)
						  : first_bucket(tag, mask);
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		scratch->path[length] = (__u64)bucket << 2 | random >> 62;
		slot = slot_at(table, scratch_get(scratch, path[length]), scratch);
		if (!slot)
			return false;
		scratch_put(scratch, steps, length);
		bucket = other_bucket(slot->tag, mask, bucket);
		if (find_place_in(table, bucket, 0, scratch))
			return true;
	}
	return false;
}

/*
 * Makes room in one of a tag's two buckets, by moving entries to their other bucket. Writes
 * the empty place to the scratch. Nothing is changed before there is a path; it is gone from
 * its end, and each move by itself is harmless.
 */
static __always_inline bool make_slot_free(struct table_head *head, enum map_ref table, __u64 mask,
					   __u64 tag, struct table_request *request,
					   struct scratch *scratch)
{
	__u64 length;

	if (!find_path(table, mask, tag, tag ^ (request->tries + head->seed_a) * BIT_NUMBER,
		       scratch))
		return false;
	length = scratch_get(scratch, steps);
	for (__u64 i = 0; i < PATH_MAX; i++) {
		__u64 from;

		from = scratch->path[length & (PATH_MAX - 1)];
		if (!move_entry(head, table, mask, from, scratch_get(scratch, place), scratch))
			return false;
		scratch_put(scratch, place, from);
		if (!length)
			return true;
		length--;
	}
	return false;
}

/* Makes an entry that is not there. */
static __always_inline enum table_result create_entry(struct table_head *head, enum map_ref table,
						      __u64 mask, __u64 tag, __u64 value,
						      struct table_request *request,
						      struct scratch *scratch)
{
	struct table_slot *slot;

	if (!find_place(table, mask, tag, 0, scratch) &&
	    !make_slot_free(head, table, mask, tag, request, scratch))
		return ++request->tries < PATH_TRIES ? RESULT_PENDING : RESULT_FULL;
	slot = slot_at(table, scratch_get(scratch, place), scratch);
	if (!slot)
		return RESULT_INVALID;
	fill_slot(slot, tag, value);
	return RESULT_CREATED;
}

/* The action of a request; every other byte is Pass. */
static __always_inline __u64 action_asked(const struct table_request *request)
{
	__u8 action = request->action & ~ACTION_RENEW;

	return action <= RULE_TRUNCATE ? action : RULE_PASS;
}

/* Does what a request wants with the entry that has this tag. */
static __always_inline enum table_result serve_entry(struct table_head *head, enum map_ref table,
						     __u64 mask, __u64 tag,
						     struct table_request *request,
						     struct scratch *scratch)
{
	struct table_slot *slot;
	__u64 wanted = action_asked(request);
	__u64 moves = head_get(head, moves);
	__u64 value;

	if (!find_place(table, mask, tag, tag, scratch)) {
		if (request->op == OP_PUT)
			return create_entry(head, table, mask, tag, SLOT_USED | wanted, request,
					    scratch);
		return moves == head_get(head, moves) ? RESULT_ABSENT : RESULT_PENDING;
	}
	slot = slot_at(table, scratch_get(scratch, place), scratch);
	if (!slot)
		return RESULT_INVALID;
	request->number = scratch_get(scratch, place);
	value = slot->value;
	if (request->op == OP_PUT && request->action & ACTION_RENEW) {
		*(volatile __u64 *)&slot->value = SLOT_USED | wanted;
		request->value = value;
		return RESULT_CHANGED;
	}
	if (request->op == OP_PUT && (value & SLOT_ACTION) != wanted) {
		__sync_fetch_and_add(&slot->value, wanted - (value & SLOT_ACTION));
		request->value = value;
		return RESULT_CHANGED;
	}
	if (request->op == OP_REMOVE) {
		*(volatile __u64 *)&slot->tag = 0;
		value = *(volatile __u64 *)&slot->value;
		clear_slot(slot);
	}
	request->value = value;
	return request->op == OP_PUT ? RESULT_SAME : RESULT_FOUND;
}

/* Adds what one slot of the former table has counted to the entry with its tag, if there is one. */
static __always_inline enum table_result add_hits(enum map_ref table, enum map_ref former,
						  __u64 mask, const struct table_request *request,
						  struct scratch *scratch)
{
	struct table_slot *old = slot_at(former, request->number, scratch);
	struct table_slot *slot;
	__u64 value;
	__u64 tag;

	if (!old)
		return RESULT_INVALID;
	tag = old->tag;
	value = old->value;
	if (!tag || !(value & SLOT_USED) || !find_place(table, mask, tag, tag, scratch))
		return RESULT_SAME;
	slot = slot_at(table, scratch_get(scratch, place), scratch);
	if (slot)
		__sync_fetch_and_add(&slot->value, value >> SLOT_HITS << SLOT_HITS);
	return RESULT_SAME;
}

/* Counts an entry that was made (1) or removed (-1). What is empty is not asked for. */
static __always_inline void count_entry(struct table_head *head, __u8 table, __s64 by)
{
	__u64 gone = 0;

	if (by < 0)
		head->removed[table == TABLE_LIST_SOURCES]++;
	if (table == TABLE_LIST_SOURCES) {
		head->list_sources += by;
		if (!head->list_sources) {
			head_get(head, sources) = head->sources & ~(SOURCES_V4 | SOURCES_V6);
			head_get(head, lengths4) = 0;
			for (int i = 0; i < 3; i++)
				head_get(head, lengths6[i]) = 0;
		}
		return;
	}
	if (table == TABLE_ZONES)
		head->zones += by;
	else
		head->list_names += by;
	if (!head->zones)
		gone |= NAMES_OPERATOR;
	if (!head->list_names)
		gone |= NAMES_LISTS;
	if (!head->zones && !head->list_names)
		gone |= NAMES_TYPED | NAMES_ROOT | NAMES_TOP;
	if (head->names & gone)
		head_get(head, names) = head->names & ~gone;
}

/* Writes the tag of a request's key to the scratch; sets the key's bits in the filters. */
static __always_inline enum table_result key_of(struct table_head *head,
						struct table_request *request,
						struct scratch *scratch)
{
	enum table_result result = RESULT_INVALID;
	__u64 rule = SOURCE_RULE_TAG;
	struct sums sums = {};

	scratch_put(scratch, writes, request->op == OP_PUT);
	if (request->table == TABLE_LIST_SOURCES) {
		if (request->family == 4)
			result = ipv4_sums(head, request, scratch, &sums);
		else if (request->family == 6)
			result = ipv6_sums(head, request, scratch, &sums);
	} else {
		rule = NAME_RULE_TAG(request->table == TABLE_LIST_NAMES, request->scope & 3);
		if (name_sums(head, request, scratch, &sums))
			result = RESULT_DONE;
	}
	scratch_put(scratch, tag, tag_of(sums) | rule);
	return result;
}

/* One slot of a request that takes the hits of a former table over. */
static __always_inline enum table_result serve_hits(const struct table_head *head,
						    struct table_request *request,
						    struct scratch *scratch)
{
	enum table_result result;

	if (!request->count)
		return RESULT_DONE;
	if (request->table == TABLE_LIST_SOURCES)
		result = add_hits(MAP_SOURCE_TABLE, MAP_FORMER_SOURCES, head->source_buckets,
				  request, scratch);
	else
		result = add_hits(MAP_NAME_TABLE, MAP_FORMER_NAMES, head->name_buckets, request,
				  scratch);
	if (result != RESULT_SAME)
		return result;
	request->number++;
	return --request->count ? RESULT_PENDING : RESULT_DONE;
}

/* Does a request, or one part of it: RESULT_PENDING. */
static __always_inline enum table_result serve(struct table_head *head,
					       struct table_request *request)
{
	struct scratch *scratch = scratch_of_cpu();
	enum table_result result;
	__u64 tag;

	if (!scratch)
		return RESULT_INVALID;
	if (request->table < TABLE_ZONES || request->table > TABLE_LIST_NAMES)
		return RESULT_INVALID;
	if (request->op == OP_ADD_HITS)
		return serve_hits(head, request, scratch);
	if (request->op < OP_LOOK_UP || request->op > OP_REMOVE)
		return RESULT_INVALID;
	result = key_of(head, request, scratch);
	if (result != RESULT_DONE)
		return result;
	tag = scratch_get(scratch, tag);
	if (request->table == TABLE_LIST_SOURCES)
		result = serve_entry(head, MAP_SOURCE_TABLE, head->source_buckets, tag, request,
				     scratch);
	else
		result = serve_entry(head, MAP_NAME_TABLE, head->name_buckets, tag, request,
				     scratch);
	if (result == RESULT_CREATED)
		count_entry(head, request->table, 1);
	if (result == RESULT_FOUND && request->op == OP_REMOVE)
		count_entry(head, request->table, -1);
	return result;
}

#endif
