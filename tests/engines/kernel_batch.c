// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Runs a loaded program on many frames, one program test run each, and compares what
 * it left, counted and hit with what is expected. Called by batch.py; needs root.
 */
#include <linux/bpf.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "abi.h"
#include "batch.h"

#define ROOM	 8192
#define SHORTEST 14 /* octets of a frame that a program test run takes */
#define LONGEST	 3000

static int bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int look_up(int map, const void *key, void *value)
{
	union bpf_attr attributes = {
		.map_fd = map, .key = (uintptr_t)key, .value = (uintptr_t)value};

	return bpf(BPF_MAP_LOOKUP_ELEM, &attributes);
}

/* Reads a rule; other than 0: it cannot be read. */
static int rule_now(const struct place *place, struct rule_value *value)
{
	struct table_bucket bucket;
	int failed;

	if (place->slot == NO_SLOT)
		return look_up(place->map, place->key, value);
	failed = look_up(place->map, place->key, &bucket);
	if (!failed)
		*value = rule_of_slot(&bucket, place->slot);
	return failed;
}

/* Whether one packet of `size` octets was counted, in that cell and in no other of a reason. */
static bool counted_as_expected(const struct expected *expected, int cpus,
				const struct counters *before, const struct counters *after)
{
	for (int reason = 0; reason < REASON_COUNT; reason++)
		for (int action = 0; action < ACTION_COUNT; action++) {
			bool here = (__u32)reason == expected->reason &&
				    (__u32)action == expected->action;
			__u64 packets = 0;
			__u64 bytes = 0;

			for (int cpu = 0; cpu < cpus; cpu++) {
				const struct counter *old = &before[cpu].cell[reason][action];
				const struct counter *new = &after[cpu].cell[reason][action];

				packets += new->packets - old->packets;
				bytes += new->bytes - old->bytes;
			}
			if (packets != here || bytes != (here ? expected->size : 0))
				return false;
		}
	return true;
}

/* Whether all rules are as they should be by now. */
static bool rules_as_expected(const struct batch *batch, const struct rule_value *rules)
{
	struct rule_value now;

	for (__u32 i = 0; i < batch->rules; i++)
		if (rule_now(&batch->places[i], &now) || memcmp(&now, &rules[i], sizeof(now)))
			return false;
	return true;
}

static bool runs_as_expected(const struct batch *batch, const struct expected *expected,
			     int program, const __u8 *frame, const __u8 *answer,
			     struct rule_value *rules)
{
	static __u8 out[ROOM];
	struct xdp_md first = {.data_end = batch->first_buffer};
	union bpf_attr attributes = {.test = {.prog_fd = program,
					      .data_in = (uintptr_t)frame,
					      .data_size_in = expected->size,
					      .data_out = (uintptr_t)out,
					      .data_size_out = sizeof(out)}};
	struct rule_value now;
	int hit = expected->hit;

	if (batch->first_buffer < expected->size) {
		attributes.test.ctx_in = (uintptr_t)&first;
		attributes.test.ctx_size_in = sizeof(first);
	}
	if (bpf(BPF_PROG_TEST_RUN, &attributes) ||
	    !left_as_expected(expected, attributes.test.retval, frame, answer, out,
			      attributes.test.data_size_out))
		return false;
	if (hit == NO_HIT)
		return true;
	rules[hit].hits++;
	return !rule_now(&batch->places[hit], &now) && !memcmp(&now, &rules[hit], sizeof(now));
}

/*
 * Returns 1 where all went as expected, 0 where a frame or a rule did not, -1 where
 * the maps cannot be read. That no other rule than the expected one was hit is seen
 * at the end of the batch.
 */
int kernel_batch(const struct batch *batch, int program, int counters_map, int cpus)
{
	struct counters *before = calloc(cpus, sizeof(*before));
	struct counters *after = calloc(cpus, sizeof(*after));
	struct rule_value rules[BATCH_RULES];
	const __u8 *answer = batch->answers;
	const __u8 *frame = batch->frames;
	const __u32 first = 0;
	int done = -1;

	if (!before || !after || batch->rules > BATCH_RULES ||
	    look_up(counters_map, &first, before))
		goto out;
	for (__u32 i = 0; i < batch->rules; i++)
		if (rule_now(&batch->places[i], &rules[i]))
			goto out;
	done = 0;
	for (__u32 i = 0; i < batch->count; i++) {
		const struct expected *expected = &batch->expected[i];

		if (expected->size >= SHORTEST && expected->size <= LONGEST) {
			struct counters *other = before;

			if (!runs_as_expected(batch, expected, program, frame, answer, rules) ||
			    look_up(counters_map, &first, after) ||
			    !counted_as_expected(expected, cpus, before, after))
				goto out;
			before = after;
			after = other;
		}
		frame += expected->size;
		answer += expected->answer_size;
	}
	done = rules_as_expected(batch, rules);
out:
	free(before);
	free(after);
	return done;
}
