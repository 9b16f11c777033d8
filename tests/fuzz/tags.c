/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The table program's arithmetic for many keys at once, and how many of their tags are the
 * same. Called by collisions.py, which compiles it; owns no map.
 */
#include <stdlib.h>
#include <string.h>

#include "table_write.h"

static struct table_head head;
static struct scratch scratch;

void *map_lookup(enum map_ref map, const void *key)
{
	(void)map;
	(void)key;
	return NULL;
}

void *map_value(enum map_ref map)
{
	(void)map;
	return &head;
}

void tags_set_head(const void *from)
{
	memcpy(&head, from, sizeof(head));
}

/*
 * Writes the tags of `count` requests, without book and scope; those of names keep all of
 * their sums' upper halves. Returns how many could not be read.
 */
size_t tags_of(const struct table_request *requests, size_t count, __u64 *tags)
{
	size_t wrong = 0;

	for (size_t i = 0; i < count; i++) {
		struct table_request request = requests[i];
		struct sums sums = {};
		bool is_read;

		if (request.table != TABLE_LIST_SOURCES)
			is_read = name_sums(&head, &request, &scratch, &sums);
		else if (request.family == 4)
			is_read = ipv4_sums(&head, &request, &scratch, &sums) == RESULT_DONE;
		else
			is_read = ipv6_sums(&head, &request, &scratch, &sums) == RESULT_DONE;
		wrong += !is_read;
		tags[i] = tag_of(sums);
	}
	return wrong;
}

static int by_value(const void *one, const void *other)
{
	__u64 a = *(const __u64 *)one;
	__u64 b = *(const __u64 *)other;

	return (a > b) - (a < b);
}

/* Returns how many pairs of tags are the same in the bits of the mask. Reorders the tags. */
__u64 tags_same(__u64 *tags, size_t count, __u64 mask)
{
	__u64 pairs = 0;
	__u64 run = 0;

	for (size_t i = 0; i < count; i++)
		tags[i] &= mask;
	qsort(tags, count, sizeof(*tags), by_value);
	for (size_t i = 1; i < count; i++) {
		run = tags[i] == tags[i - 1] ? run + 1 : 0;
		pairs += run;
	}
	return pairs;
}
