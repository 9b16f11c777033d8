/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The filter on the host: maps as plain arrays behind the seam of platform.h, one
 * frame at a time, between pages that nobody may touch. host_build.py compiles
 * this file with a configuration before it and calls what is not static.
 * tests/fuzz/coverage.c includes it: there are several configurations in one
 * program, `filter` is the present one's, and a fault is the sanitizers' to report.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef HOST_FILTERS
#include "platform.h"
static int (*filter)(struct xdp_md *ctx);
#else
#include "filter.bpf.c"
#include "batch.h"
#endif
#include "table.bpf.c"
#include "tcp_proof.bpf.c"

#define FRAME_MAX	65536
#define ETHERNET_HEADER 14
#define MAPS		40
#define ZONES		8
#define KEY_MAX		264
#define SOCKETS		16
#define EMPTY_SLOT	(-1)
#define ERROR_FAULT	1
#define ERROR_COUNT	2
#define ERROR_TOO_LONG	3
#define ERROR_TRIM	4

enum placement {
	PLACE_AT_END = 0, /* the frame's end touches the forbidden page */
	PLACE_AT_START = 1,
};

struct entry {
	__u8 key[KEY_MAX];
	union {
		struct rule_value value;
		struct zone_limit zone; /* longest of all values */
	};
};

struct map {
	struct entry **entries;
	size_t count;
};

/* An array whose size is not that of a value of abi.h: our own tables. */
struct array {
	__u8 *values;
	__u32 count;
};

/* A TCP socket: the ends of a segment for it, source first, and its state. */
struct tcp_socket {
	__u8 ends[36];
	__u32 size;
	__u32 state;
};

struct outcome {
	__s32 verdict;
	__u32 reason;
	__u32 action;
	__u32 length; /* of the frame as it now is */
};

static const size_t key_sizes[MAPS] = {
	[MAP_ADDR_V4] = sizeof(struct addr_v4_key),
	[MAP_ADDR_V6] = sizeof(struct addr_v6_key),
	[MAP_CIDR4] = sizeof(struct cidr4_key),
	[MAP_CIDR6] = sizeof(struct cidr6_key),
	[MAP_QNAMES] = sizeof(struct qname_key),
	[MAP_XSKMAP] = sizeof(__u32),
	[MAP_XSK_DESTINATIONS_V4] = sizeof(struct xsk_destination_v4),
	[MAP_XSK_DESTINATIONS_V6] = sizeof(struct xsk_destination_v6),
	[MAP_EXEMPT4] = sizeof(struct cidr4_key),
	[MAP_EXEMPT6] = sizeof(struct cidr6_key),
	[MAP_ZONE_LIMITS] = sizeof(__u64),
};

static const size_t value_sizes[MAPS] = {
	[MAP_TABLE_HEAD] = sizeof(struct table_head),
	[MAP_NAME_TABLE] = sizeof(struct table_bucket),
	[MAP_NAME_FILTER] = sizeof(__u64),
	[MAP_SOURCE_TABLE] = sizeof(struct table_bucket),
	[MAP_SOURCE_FILTER] = sizeof(struct source_line),
	[MAP_TABLE_REQUESTS] = sizeof(struct table_request),
	[MAP_FORMER_NAMES] = sizeof(struct table_bucket),
	[MAP_FORMER_SOURCES] = sizeof(struct table_bucket),
	[MAP_LIMITS] = sizeof(struct limits),
	[MAP_LIMIT_CELLS] = sizeof(struct limit_set),
	[MAP_LIMIT_PROVEN] = sizeof(struct proven_line),
	[MAP_FLOOD] = sizeof(struct flood),
	[MAP_ZONE_CELLS] = sizeof(struct zone_cell),
	[MAP_HEAVY_ZONES] = sizeof(struct heavy_zones),
	[MAP_ZONE_HEAD] = sizeof(struct zone_head),
	[MAP_SAMPLE_STATE] = sizeof(struct sample_state),
};

/* Maps whose keys are prefixes. */
static const bool tries[MAPS] = {
	[MAP_CIDR4] = true,
	[MAP_CIDR6] = true,
	[MAP_EXEMPT4] = true,
	[MAP_EXEMPT6] = true,
};

static struct map maps[MAPS];
static struct array arrays[MAPS];
static struct array names_of_zones[ZONES]; /* the maps in zone-names */
static struct tcp_socket sockets[SOCKETS];
static __u32 socket_count;
static struct counters counters;
static struct control control;
static struct scratch scratch;
static struct name_index name_index;
static __u64 ticks = 24 * 3600 * 250;
static __u64 drawn = 1;
static __u64 streamed;
static __u8 record[sizeof(struct sample) + SAMPLE_LENGTH_MAX];
static size_t record_room; /* of the record that is written; 0: none */
static void (*on_sample)(const __u8 *record, size_t size);

static __u8 *room[2]; /* FRAME_MAX bytes each, a forbidden page on both sides */
static int current_room;
static enum placement placement;
static int trim_error;

static __u8 *place(__u8 *in, size_t length)
{
	return placement == PLACE_AT_END ? in + FRAME_MAX - length : in;
}

static __u8 *make_room(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	__u8 *all = mmap(NULL, FRAME_MAX + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (all == MAP_FAILED || mprotect(all + page, FRAME_MAX, PROT_READ | PROT_WRITE))
		return NULL;
	return all + page;
}

static bool prefix_matches(const struct entry *entry, const __u8 *address)
{
	__u32 bits = load32(entry->key);

	if (memcmp(entry->key + 4, address, bits / 8))
		return false;
	return bits % 8 == 0 || !((entry->key[4 + bits / 8] ^ address[bits / 8]) >> (8 - bits % 8));
}

static struct entry *find(enum map_ref map, const void *key)
{
	for (size_t i = 0; i < maps[map].count; i++)
		if (!memcmp(maps[map].entries[i]->key, key, key_sizes[map]))
			return maps[map].entries[i];
	return NULL;
}

static struct entry *find_longest(enum map_ref map, const __u8 *key)
{
	struct entry *best = NULL;

	for (size_t i = 0; i < maps[map].count; i++) {
		struct entry *entry = maps[map].entries[i];

		if (prefix_matches(entry, key + 4) &&
		    (!best || load32(entry->key) > load32(best->key)))
			best = entry;
	}
	return best;
}

void *map_lookup(enum map_ref map, const void *key)
{
	struct entry *entry;

	if (map == MAP_COUNTERS)
		return &counters;
	if (map == MAP_SCRATCH)
		return &scratch;
	if (map == MAP_ZONE_NAMES) {
		__u32 number = load32(key);

		return number < ZONES && names_of_zones[number].count ? &names_of_zones[number]
								      : NULL;
	}
	if (value_sizes[map]) {
		__u32 number = load32(key);

		return number < arrays[map].count
			       ? arrays[map].values + (size_t)number * value_sizes[map]
			       : NULL;
	}
	entry = tries[map] ? find_longest(map, key) : find(map, key);
	return entry ? &entry->value : NULL;
}

void *map_lookup_in(void *inner, const void *key)
{
	const struct array *names = inner;
	__u32 number = load32(key);

	return number < names->count ? names->values + number * sizeof(struct zone_bucket) : NULL;
}

void *map_value(enum map_ref map)
{
	if (map == MAP_NAME_INDEX)
		return &name_index;
	if (map == MAP_TABLE_HEAD || map == MAP_LIMITS || map == MAP_FLOOD ||
	    map == MAP_ZONE_HEAD || map == MAP_SAMPLE_STATE)
		return arrays[map].values;
	return map == MAP_CONTROL ? &control : NULL;
}

__u64 jiffies(void)
{
	return ticks;
}

__u64 clock_nanoseconds(void)
{
	return ticks * 4000000;
}

/* A generator as good as the kernel's for what is drawn here (splitmix64). */
__u32 random_number(void)
{
	__u64 mixed = drawn += 0x9e3779b97f4a7c15ULL;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
	return mixed >> 32;
}

__u32 cpu_number(void)
{
	return 0;
}

/* The only ring buffer. There is room in it where somebody takes the records. */
void *ring_reserve(enum map_ref map, __u64 size)
{
	if (map != MAP_SAMPLES || !on_sample || size > sizeof(record) || record_room)
		return NULL;
	record_room = size;
	return record;
}

void ring_submit(void *submitted)
{
	if (submitted == record)
		on_sample(record, record_room);
	record_room = 0;
}

__u32 tcp_state(struct xdp_md *ctx, void *ends, __u32 size)
{
	(void)ctx;
	for (__u32 i = 0; i < socket_count; i++)
		if (sockets[i].size == size && !memcmp(sockets[i].ends, ends, size))
			return sockets[i].state;
	return 0;
}

int redirect_to_queue(struct xdp_md *ctx)
{
	return find(MAP_XSKMAP, &ctx->rx_queue_index) ? XDP_REDIRECT : XDP_PASS;
}

/* Moves the frame to the other room, so that a pointer from before would fault. */
int trim_frame(struct xdp_md *ctx, int delta)
{
	size_t length = ctx->data_end - ctx->data;
	__u8 *other = room[!current_room];
	__u8 *moved;

	if (delta > 0 || length + delta < ETHERNET_HEADER) {
		trim_error = 1;
		return -1;
	}
	mprotect(other, FRAME_MAX, PROT_READ | PROT_WRITE);
	moved = place(other, length + delta);
	memcpy(moved, ctx->data, length + delta);
	mprotect(room[current_room], FRAME_MAX, PROT_NONE);
	current_room = !current_room;
	ctx->data = moved;
	ctx->data_end = moved + length + delta;
	return 0;
}

/* Finds the one cell that was counted in, of those with a reason. */
static int read_counters(struct outcome *outcome, size_t length)
{
	int cells = 0;

	for (__u32 reason = 0; reason < REASON_COUNT; reason++)
		for (__u32 action = 0; action < ACTION_COUNT; action++) {
			const struct counter *cell = &counters.cell[reason][action];

			if (!cell->packets && !cell->bytes)
				continue;
			if (cell->packets != 1 || cell->bytes != length)
				return ERROR_COUNT;
			outcome->reason = reason;
			outcome->action = action;
			cells++;
		}
	return cells == 1 ? 0 : ERROR_COUNT;
}

static bool has_rooms(void)
{
	for (int i = 0; i < 2; i++)
		if (!room[i] && !(room[i] = make_room()))
			return false;
	return true;
}

#ifdef HOST_FILTERS

static bool survives(struct xdp_md *ctx, struct outcome *outcome)
{
	outcome->verdict = filter(ctx);
	return true;
}

#else

static sigjmp_buf fault;

static void on_fault(int signal_number)
{
	siglongjmp(fault, signal_number);
}

static void swap_handlers(struct sigaction *mine, struct sigaction *theirs)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		struct sigaction *set = mine ? mine : &theirs[i];

		sigaction(faults[i], set, mine ? &theirs[i] : NULL);
	}
}

/* Calls the filter; false: it touched what is forbidden. */
static bool survives(struct xdp_md *ctx, struct outcome *outcome)
{
	struct sigaction mine = {.sa_handler = on_fault};
	struct sigaction theirs[5];
	volatile bool survived = false;

	swap_handlers(&mine, theirs);
	if (!sigsetjmp(fault, 1)) {
		outcome->verdict = xdpctl_filter(ctx);
		survived = true;
	}
	swap_handlers(NULL, theirs);
	return survived;
}

#endif

/*
 * Runs the filter on one frame, of which the first buffer holds `first` octets; the result
 * goes to `outcome` and `out`, which has room for FRAME_MAX bytes. Returns 0 or one of the
 * ERROR_ numbers.
 */
int host_run(const __u8 *frame, size_t length, size_t first, __u32 queue, int where,
	     struct outcome *outcome, __u8 *out)
{
	struct xdp_md ctx = {.rx_queue_index = queue};

	if (length > FRAME_MAX || !has_rooms())
		return ERROR_TOO_LONG;
	current_room = 0;
	placement = where;
	trim_error = 0;
	memset(&counters, 0, sizeof(counters));
	mprotect(room[0], FRAME_MAX, PROT_READ | PROT_WRITE);
	ctx.size = length;
	if (first < length)
		length = first;
	ctx.data = place(room[0], length);
	ctx.data_end = ctx.data + length;
	memcpy(ctx.data, frame, length);
	if (!survives(&ctx, outcome))
		return ERROR_FAULT;
	if (trim_error)
		return ERROR_TRIM;
	outcome->length = ctx.data_end - ctx.data;
	memcpy(out, ctx.data, outcome->length);
	if (ctx.size > length) { /* what lies in the other buffers is out of reach */
		memcpy(out + outcome->length, frame + length, ctx.size - length);
		outcome->length += ctx.size - length;
	}
	return read_counters(outcome, ctx.size);
}

/* Sets the clock. */
void host_set_ticks(__u64 now)
{
	ticks = now;
}

/* Has each sample from now on taken by this function; NULL: the ring buffer has no room. */
void host_samples(void (*taker)(const __u8 *record, size_t size))
{
	on_sample = taker;
}

/* How many samples there was no room for since the counters were cleared. */
__u64 host_samples_lost(void)
{
	return ((struct sampling *)counters.cell[SAMPLE_ROW])->lost;
}

/* Writes an entry, or the value of an array; 0, or -1 where that is no map to write. */
int host_set(__u32 map, const void *key, const void *value, size_t value_size)
{
	struct entry *entry;

	if (map == MAP_CONTROL && value_size == sizeof(control)) {
		memcpy(&control, value, value_size);
		return 0;
	}
	if (map == MAP_NAME_INDEX && value_size == sizeof(name_index)) {
		memcpy(&name_index, value, value_size);
		return 0;
	}
	if (map >= MAPS || !key_sizes[map] || value_size > sizeof(entry->zone))
		return -1;
	entry = find(map, key);
	if (!entry) {
		struct map *to = &maps[map];

		entry = calloc(1, sizeof(*entry));
		to->entries = realloc(to->entries, (to->count + 1) * sizeof(struct entry *));
		to->entries[to->count++] = entry;
		memcpy(entry->key, key, key_sizes[map]);
	}
	memcpy(&entry->value, value, value_size);
	return 0;
}

/* Copies an entry's value of 16 bytes to `value`; 0, or -1 where there is none. */
int host_get(__u32 map, const void *key, void *value)
{
	struct entry *entry;

	if (map >= MAPS || !key_sizes[map])
		return -1;
	entry = find(map, key);
	if (!entry)
		return -1;
	memcpy(value, &entry->value, sizeof(entry->value));
	return 0;
}

/* Makes an array of zeros in the place of a former one; NULL: it is none, or has no memory. */
void *host_array(__u32 map, __u32 count)
{
	void *values = NULL;

	if (map >= MAPS || !value_sizes[map] ||
	    posix_memalign(&values, sizeof(struct table_bucket), count * value_sizes[map]))
		return NULL;
	memset(values, 0, count * value_sizes[map]);
	free(arrays[map].values);
	arrays[map] = (struct array){values, count};
	return values;
}

/* The same of the names of a zone; the former ones are only left by a new array. */
void *host_zone_names(__u32 number, __u32 count)
{
	void *values = NULL;

	if (number >= ZONES ||
	    posix_memalign(&values, sizeof(struct zone_bucket), count * sizeof(struct zone_bucket)))
		return NULL;
	memset(values, 0, count * sizeof(struct zone_bucket));
	free(names_of_zones[number].values);
	names_of_zones[number] = (struct array){values, count};
	return values;
}

/* Makes a TCP socket: 0, or -1 where there are too many. */
int host_socket(const void *ends, __u32 size, __u32 state)
{
	struct tcp_socket *made = &sockets[socket_count];

	if (socket_count == SOCKETS || size > sizeof(made->ends))
		return -1;
	memcpy(made->ends, ends, size);
	made->size = size;
	made->state = state;
	socket_count++;
	return 0;
}

/* How many packets of the last run were counted in a row that is no reason's. */
__u64 host_tally(__u32 row, int good)
{
	return counters.cell[row][good].packets;
}

/* Runs the program that sees connections. */
int host_tcp_proof(struct bpf_sock_ops *ops)
{
	return xdpctl_tcp_proof(ops);
}

/* Runs the table program so often, as a program test run does. */
void host_table(__u32 runs)
{
	for (__u32 i = 0; i < runs; i++)
		xdpctl_table(NULL);
}

/* Empties every map that is no table of ours. The clock is a day after the boot. */
void host_clear(void)
{
	ticks = 24 * 3600 * 250;
	memset(&control, 0, sizeof(control));
	memset(&name_index, 0, sizeof(name_index));
	memset(scratch.tickets, 0, sizeof(scratch.tickets));
	scratch.turn = 0;
	socket_count = 0;
	for (int map = 0; map < MAPS; map++) {
		for (size_t i = 0; i < maps[map].count; i++)
			free(maps[map].entries[i]);
		free(maps[map].entries);
		maps[map] = (struct map){};
	}
	for (int zone = 0; zone < ZONES; zone++) {
		free(names_of_zones[zone].values);
		names_of_zones[zone] = (struct array){};
	}
}

size_t host_key_size(__u32 map)
{
	return map < MAPS ? key_sizes[map] : 0;
}

#ifndef HOST_FILTERS

/*
 * Runs the filter on `count` frames that differ in the 4 octets at `at`, and counts what becomes
 * of them. The clock goes on by a tick after each `per_tick` of them. The filter must change none.
 */
void host_stream(const __u8 *frame, size_t length, size_t at, const __u32 *numbers, size_t count,
		 __u64 per_tick)
{
	struct xdp_md ctx = {.size = length};

	if (length > FRAME_MAX || at + sizeof(*numbers) > length || !has_rooms())
		return;
	current_room = 0;
	placement = PLACE_AT_END;
	mprotect(room[0], FRAME_MAX, PROT_READ | PROT_WRITE);
	ctx.data = place(room[0], length);
	ctx.data_end = ctx.data + length;
	memcpy(ctx.data, frame, length);
	for (size_t i = 0; i < count; i++) {
		store32(ctx.data + at, numbers[i]);
		xdpctl_filter(&ctx);
		streamed++;
		ticks += streamed % per_tick == 0;
	}
}

/* The value of a rule as it is now; false if there is none. */
static bool rule_now(const struct place *place, struct rule_value *value)
{
	struct entry *entry;

	if (place->slot == NO_SLOT) {
		entry = find(place->map, place->key);
		if (entry)
			*value = entry->value;
		return entry;
	}
	*value = rule_of_slot(map_lookup(place->map, place->key), place->slot);
	return true;
}

/* Whether all rules are as they were, but for one hit of the expected one. */
static bool hit_as_expected(const struct batch *batch, struct rule_value *rules, int hit)
{
	struct rule_value now;

	if (hit != NO_HIT)
		rules[hit].hits++;
	for (__u32 i = 0; i < batch->rules; i++)
		if (!rule_now(&batch->places[i], &now) || memcmp(&now, &rules[i], sizeof(now)))
			return false;
	return true;
}

/*
 * Runs the filter on every frame, all of which come in on queue 0. Returns 1 where all
 * went as expected, 0 where one did not. `out` has room for FRAME_MAX bytes.
 */
int host_batch(const struct batch *batch, int where, __u8 *out)
{
	struct rule_value rules[BATCH_RULES];
	const __u8 *answer = batch->answers;
	const __u8 *frame = batch->frames;

	if (batch->rules > BATCH_RULES)
		return 0;
	for (__u32 i = 0; i < batch->rules; i++)
		if (!rule_now(&batch->places[i], &rules[i]))
			return 0;
	for (__u32 i = 0; i < batch->count; i++) {
		const struct expected *expected = &batch->expected[i];
		struct outcome outcome;

		if (host_run(frame, expected->size, batch->first_buffer, 0, where, &outcome, out) ||
		    outcome.reason != expected->reason || outcome.action != expected->action ||
		    !left_as_expected(expected, outcome.verdict, frame, answer, out,
				      outcome.length) ||
		    !hit_as_expected(batch, rules, expected->hit))
			return 0;
		frame += expected->size;
		answer += expected->answer_size;
	}
	return 1;
}

#endif
