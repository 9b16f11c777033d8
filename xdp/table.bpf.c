/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The table program: the only writer of our own tables. It is never attached. The service
 * writes requests into the map table-requests and runs this program once for each, by
 * program test runs; the answers lie in the requests. So a key is hashed by the same C that
 * hashes it in a packet, and an entry is written where readers need no lock.
 *
 * One run is one request, or one part of it: a request that takes several runs stays the
 * next one. The order of what is written is abi.h's: the bits of the filter before the
 * entry, the value before the tag, the copy before the original is cleared.
 */
#include "table_write.h"

int xdpctl_table(void *ctx)
{
	struct table_head *head = table_head();
	struct table_request *request;
	struct table_queue *queue;
	__u32 number = 0;
	__u8 result;

	(void)ctx;
	queue = map_lookup(MAP_TABLE_REQUESTS, &number);
	if (!queue || queue->next >= queue->waiting)
		return 0;
	number = queue->next + 1;
	request = map_lookup(MAP_TABLE_REQUESTS, &number);
	if (!request)
		return 0;
	result = serve(head, request);
	if (result == RESULT_PENDING)
		return 0;
	request->result = result;
	queue->next = number;
	if (result == RESULT_FULL || result == RESULT_INVALID)
		queue->waiting = number; /* nothing behind it is done */
	return 0;
}
