/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What libFuzzer calls: octets become a configuration, rules and a frame (the form
 * is inputs.py's), the frame is judged twice, in two surroundings that may make no
 * difference, and what holds for every frame is checked (invariants.h). coverage.py
 * builds and runs it, every configuration of xdp/ an object beside it.
 */
#include <stdint.h>
#include <stdio.h>

#define HOST_FILTERS
#include "../engines/host.c"
#include "invariants.h"

#define RULES_MAX     16
#define PADDED_BELOW  2048
#define LONGEST	      3000
#define FROM_FRAME    0x80
#define KINDS	      5
#define FLAG_PANIC    1
#define FLAG_SOCKET   2
#define FLAG_REGISTER 4
#define FLAGS_LIMITED 3 /* shift; three bits, modulo limits_scenes */
#define KIND_LISTED   0x08
#define KIND_SCOPE    4 /* shift; two bits, modulo 3 */
#define SCOPES	      3

struct configuration {
	int (*filter)(struct xdp_md *ctx);
	int has_xsk;
	int has_tables;
	int has_limits;
};

/* Of what a map of the limits holds in a scene: an array, or one entry of another map. */
struct limits_part {
	__u32 scene;
	__u32 map;
	__u32 entry; /* the number of a zone's names */
	__u32 at;    /* in limits_values */
	__u32 size;
};

/* Rendered by coverage.py. */
extern const struct configuration configurations[];
extern const size_t configuration_count;
extern const __u8 destinations_v4[][8];
extern const size_t destinations_v4_count;
extern const __u8 destinations_v6[][20];
extern const size_t destinations_v6_count;
extern const __u8 table_head_value[][sizeof(struct table_head)]; /* one, of empty tables */
extern const __u32 array_sizes[][2]; /* number of each array, and of its values */
extern const size_t array_sizes_count;
extern const struct limits_part limits_parts[];
extern const size_t limits_parts_count;
extern const __u8 limits_values[];
extern const __u32 limits_scenes;

/* Octets that are read one after the other; zeros behind their end. */
struct tape {
	const __u8 *at;
	const __u8 *end;
};

struct rule {
	__u32 map;
	__u8 key[KEY_MAX];
};

struct operand {
	__u8 kind;
	__u8 action;
	__u8 prefix;
	__u8 size;
	__u16 qtype;
	__u16 offset;	  /* in the frame */
	__u8 octets[256]; /* where it is not from the frame */
};

static __u8 tape_octet(struct tape *tape)
{
	return tape->at < tape->end ? *tape->at++ : 0;
}

static __u16 tape_word(struct tape *tape)
{
	__u16 high = tape_octet(tape);

	return high << 8 | tape_octet(tape);
}

static void read_operand(struct tape *tape, struct operand *operand)
{
	static const __u8 sizes[KINDS] = {4, 16, 4, 16, 0};
	int kind;

	memset(operand, 0, sizeof(*operand));
	operand->kind = tape_octet(tape);
	operand->action = tape_octet(tape);
	kind = (operand->kind & 7) % KINDS;
	operand->size = sizes[kind];
	if (kind == 2 || kind == 3)
		operand->prefix = tape_octet(tape) % (operand->size * 8 + 1);
	if (kind == 4) {
		operand->qtype = tape_word(tape);
		operand->size = tape_octet(tape);
	}
	if (operand->kind & FROM_FRAME)
		operand->offset = tape_word(tape);
	else
		for (int i = 0; i < operand->size; i++)
			operand->octets[i] = tape_octet(tape);
}

static void take_from_frame(struct operand *operand, const __u8 *frame, size_t length)
{
	for (size_t i = 0; i < operand->size; i++) {
		size_t at = operand->offset + i;
		__u8 octet = at < length ? frame[at] : 0;
		bool fold = (operand->kind & 7) % KINDS == 4 && octet >= 'A' && octet <= 'Z';

		operand->octets[i] = fold ? octet | 0x20 : octet;
	}
}

static void clear_host_bits(__u8 *address, int octets, int prefix)
{
	for (int bit = prefix; bit < octets * 8; bit++)
		address[bit / 8] &= ~(0x80 >> bit % 8);
}

static void make_rule(struct operand *operand, struct rule *rule)
{
	static const __u32 refs[KINDS] = {MAP_ADDR_V4, MAP_ADDR_V6, MAP_CIDR4, MAP_CIDR6,
					  MAP_QNAMES};
	int kind = (operand->kind & 7) % KINDS;
	__u32 prefix = operand->prefix;

	memset(rule, 0, sizeof(*rule));
	rule->map = refs[kind];
	switch (kind) {
	case 0:
		for (int i = 0; i < 4; i++)
			rule->key[i] = operand->octets[3 - i]; /* little-endian hosts */
		break;
	case 1:
		memcpy(rule->key, operand->octets, 16);
		break;
	case 2:
	case 3:
		clear_host_bits(operand->octets, operand->size, operand->prefix);
		memcpy(rule->key, &prefix, sizeof(prefix));
		memcpy(rule->key + 4, operand->octets, operand->size);
		break;
	default:
		memcpy(rule->key, operand->octets, operand->size);
		memcpy(rule->key + 256, &operand->qtype, sizeof(operand->qtype));
	}
}

/* Factors that are no one's secret: the same for every input, so that it can be run again. */
static void draw_factors(void)
{
	__u64 state = 0x9e3779b97f4a7c15;

	for (int i = 0; i <= INDEX_FACTORS; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		if (i < INDEX_FACTORS)
			name_index.factors[i] = state;
		else
			name_index.type_factor = state | 1;
	}
}

/* The bit of a name's key, as abi.h says. */
static void index_name(const __u8 *key)
{
	__u64 sum = 0;
	__u64 word;
	__u16 qtype;

	for (int i = 0; i < 32; i++) {
		memcpy(&word, key + i * 8, 8);
		sum += word * name_index.factors[2 * i];
		sum += (word >> 32) * name_index.factors[2 * i + 1];
	}
	memcpy(&qtype, key + 256, 2);
	name_index.words[INDEX_WORDS + (sum >> (64 - INDEX_WORD_BITS))] |=
		1ULL << ((sum >> (64 - INDEX_WORD_BITS - 6) & 63) ^
			 (__u16)(qtype + 1) * name_index.type_factor >> 58);
}

static int scope_of(const struct operand *operand)
{
	return (operand->kind >> KIND_SCOPE & 3) % SCOPES;
}

/* Whether the rule belongs into our own tables, where there are any. */
static bool is_own(const struct operand *operand)
{
	return operand->kind & KIND_LISTED ||
	       ((operand->kind & 7) % KINDS == 4 && scope_of(operand) != ZONE_SELF);
}

/* Empty tables, always with the same secret, and empty arrays of the limits. */
static void clear_arrays(void)
{
	for (size_t i = 0; i < array_sizes_count; i++) {
		struct array *array = &arrays[array_sizes[i][0]];

		if (!array->values)
			host_array(array_sizes[i][0], array_sizes[i][1]);
		memset(array->values, 0, array->count * value_sizes[array_sizes[i][0]]);
	}
	memcpy(arrays[MAP_TABLE_HEAD].values, table_head_value, sizeof(struct table_head));
}

/* Has the table program serve one request; returns what it answers. */
static enum table_result ask_table(const struct table_request *asked)
{
	struct table_queue *queue = (struct table_queue *)arrays[MAP_TABLE_REQUESTS].values;
	struct table_request *request = (struct table_request *)queue + 1;

	*request = *asked;
	queue->next = 0;
	queue->waiting = 1;
	while (!queue->next)
		host_table(1);
	return request->result;
}

/* Writes a rule into our own tables, unless there is one, or it is none. */
static void set_own_rule(struct operand *operand)
{
	int kind = (operand->kind & 7) % KINDS;
	struct table_request request = {.op = OP_LOOK_UP, .action = operand->action};

	if (kind == 4) {
		request.table = operand->kind & KIND_LISTED ? TABLE_LIST_NAMES : TABLE_ZONES;
		request.scope = scope_of(operand);
		request.qtype = operand->qtype;
		memcpy(request.name, operand->octets, operand->size);
	} else {
		request.table = TABLE_LIST_SOURCES;
		request.family = operand->size == 4 ? 4 : 6;
		request.length = kind >= 2 ? operand->prefix : TABLE_EXACT;
		if (kind >= 2)
			clear_host_bits(operand->octets, operand->size, operand->prefix);
		memcpy(request.address_be, operand->octets, operand->size);
	}
	if (ask_table(&request) != RESULT_ABSENT)
		return;
	request.op = OP_PUT;
	INVARIANT(ask_table(&request) == RESULT_CREATED);
}

static void set_rules(struct operand *operands, int count, const __u8 *frame, size_t length,
		      bool has_tables)
{
	static const __u8 unused[7] = {0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5};

	for (int i = 0; i < count; i++) {
		struct rule_value value = {.action = operands[i].action};
		struct rule rule;

		if (operands[i].kind & FROM_FRAME)
			take_from_frame(&operands[i], frame, length);
		if (has_tables && is_own(&operands[i])) {
			set_own_rule(&operands[i]);
			continue;
		}
		make_rule(&operands[i], &rule);
		if (find(rule.map, rule.key))
			continue;
		memcpy(value.unused, unused, sizeof(unused));
		host_set(rule.map, rule.key, &value, sizeof(value));
		if (rule.map == MAP_QNAMES)
			index_name(rule.key);
	}
}

static void set_scene(__u8 flags)
{
	static const __u8 one[4] = {1};
	__u32 slot = 0;

	control.panic = flags & FLAG_PANIC;
	if (flags & FLAG_SOCKET)
		host_set(MAP_XSKMAP, &slot, one, 4);
	if (!(flags & FLAG_REGISTER))
		return;
	for (size_t i = 0; i < destinations_v4_count; i++)
		host_set(MAP_XSK_DESTINATIONS_V4, destinations_v4[i], one, 1);
	for (size_t i = 0; i < destinations_v6_count; i++)
		host_set(MAP_XSK_DESTINATIONS_V6, destinations_v6[i], one, 1);
}

/* Fills the maps of the limits. */
static void set_limits(__u32 scene)
{
	static const __u8 zeros[8];

	for (size_t i = 0; i < limits_parts_count; i++) {
		const struct limits_part *part = &limits_parts[i];
		const __u8 *value = limits_values + part->at;

		if (part->scene != scene)
			continue;
		if (part->map == MAP_ZONE_NAMES)
			memcpy(host_zone_names(part->entry,
					       part->size / sizeof(struct zone_bucket)),
			       value, part->size);
		else if (part->map == MAP_ZONE_LIMITS)
			host_set(part->map, value, value + sizeof(__u64),
				 part->size - sizeof(__u64));
		else if (part->map == MAP_EXEMPT4 || part->map == MAP_EXEMPT6)
			host_set(part->map, value, zeros, sizeof(zeros));
		else
			memcpy(arrays[part->map].values, value, part->size);
	}
}

/* Sums up the hits in one of our own tables. */
static __u64 hits_of_table(enum map_ref table)
{
	const struct table_bucket *buckets = (const struct table_bucket *)arrays[table].values;
	__u64 hits = 0;

	for (__u32 i = 0; i < arrays[table].count; i++)
		for (int j = 0; j < TABLE_SLOTS; j++) {
			const struct table_slot *slot = &buckets[i].slot[j];

			INVARIANT(!slot->tag == !(slot->value & SLOT_USED));
			hits += slot->value >> SLOT_HITS;
		}
	return hits;
}

/* Sums up all rules' hits, and checks that nothing else in them changed. */
static __u64 hits_of_rules(void)
{
	__u64 hits = 0;

	for (int map = MAP_ADDR_V4; map <= MAP_QNAMES; map++)
		for (size_t i = 0; i < maps[map].count; i++) {
			const struct rule_value *value = &maps[map].entries[i]->value;

			for (int j = 0; j < 7; j++)
				INVARIANT(value->unused[j] == 0xa5);
			hits += value->hits;
		}
	return hits + hits_of_table(MAP_NAME_TABLE) + hits_of_table(MAP_SOURCE_TABLE);
}

/* EMPTY_BIT of every map without entries. */
static __u64 empty_maps(void)
{
	__u64 empty = 0;

	for (int map = MAP_ADDR_V4; map <= MAP_XSK_DESTINATIONS_V6; map++)
		if (!maps[map].count)
			empty |= EMPTY_BIT(map);
	return empty;
}

static void judge_once(const __u8 *frame, size_t length, enum placement where, __u64 fresh,
		       int filling, struct verdict *verdict)
{
	struct outcome outcome = {};
	__u64 before = hits_of_rules();

	name_index.heartbeat = (ticks << 1) | 1;
	name_index.fresh = fresh;
	name_index.empty = ticks << EMPTY_TICK_SHIFT | (fresh ? empty_maps() : 0xffff);
	if (!fresh)
		ticks += 1; /* the heartbeat is too old, and a lie */
	memset(&scratch, filling, sizeof(scratch));
	memset(scratch.tickets, 0, sizeof(scratch.tickets)); /* what stays from packet to packet */
	scratch.turn = 0;
	scratch.heavy_turn = HEAVY_SHARE - 1;
	INVARIANT(host_run(frame, length, length, 0, where, &outcome, verdict->frame) == 0);
	if (!fresh)
		ticks -= 1;
	verdict->code = outcome.verdict;
	verdict->reason = outcome.reason;
	verdict->action = outcome.action;
	verdict->length = outcome.length;
	verdict->hits = hits_of_rules() - before;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct operand operands[RULES_MAX];
	static struct verdict first, second;
	static __u8 frame[LONGEST];
	struct tape tape = {data, data + size};
	const struct configuration *configuration;
	size_t padded;
	size_t length;
	__u32 limited;
	__u8 flags;
	int rules;

	if (size < 5)
		return 0;
	configuration = &configurations[tape_octet(&tape) % configuration_count];
	flags = tape_octet(&tape);
	padded = tape_word(&tape) % PADDED_BELOW;
	rules = tape_octet(&tape) % (RULES_MAX + 1);
	for (int i = 0; i < rules; i++)
		read_operand(&tape, &operands[i]);
	length = tape.end - tape.at;
	if (length > LONGEST)
		length = LONGEST;
	memset(frame, 0, sizeof(frame));
	memcpy(frame, tape.at, length);
	if (length < padded)
		length = padded;

	host_clear();
	draw_factors();
	filter = configuration->filter;
	set_scene(flags);
	clear_arrays();
	set_rules(operands, rules, frame, length, configuration->has_tables);
	limited = (flags >> FLAGS_LIMITED) % 8 % limits_scenes;
	if (configuration->has_limits)
		set_limits(limited);
	judge_once(frame, length, PLACE_AT_END, 0, 0xa5, &first);
	if (configuration->has_limits)
		set_limits(limited);
	judge_once(frame, length, PLACE_AT_START, 5, 0, &second);
	check_same(&first, &second);
	check_verdict(&first, frame, length, flags & FLAG_PANIC,
		      configuration->has_xsk && flags & FLAG_SOCKET && flags & FLAG_REGISTER);
	return 0;
}
