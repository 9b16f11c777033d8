"""Requests to the table program: many keys at once, and what came of each.

Owns the map of requests and its records. Only the program computes the place of a key and
writes to the tables (xdp/table.bpf.c); this writes keys into the kernel's memory, has the
program run once for each, and reads the answers there. Keys are as the state file stores
them. Made with a generation; everything blocks, a million keys for about a second.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

from xdpctl.abi import (
    REQUEST_RESULT_OFFSET,
    REQUEST_SIZE,
    REQUEST_VALUE_OFFSET,
    TABLE_REQUESTS,
    TABLES,
    MapName,
    TableOp,
    TableResult,
    request_head,
)
from xdpctl.errors import KernelError, TableFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xdpctl.kernel.bpf.programs import Program

_FRAME = bytes(64)
"""The program does not look at it."""

_MORE_RUNS = 1 << 14
"""Runs at once for requests that take several."""

_USED = 0x80
_WORDS = REQUEST_SIZE // 8
_VALUE = REQUEST_VALUE_OFFSET // 8


class Requests:
    """The requests of one process to one generation of tables.

    Each call is whole before the next one begins, from whatever thread.

    Args:
        program: the table program, loaded over the generation's maps.
        memory: the map table-requests, of this program alone.
        capacity: gives the number of slots of a map's table, for errors.
    """

    def __init__(
        self, program: Program, memory: memoryview, capacity: Callable[[MapName], int]
    ) -> None:
        self._program = program
        self._queue = memory[:REQUEST_SIZE].cast("Q")
        self._records = memory[REQUEST_SIZE:]
        self._words = self._records.cast("Q")
        self._capacity = capacity
        self._lock = threading.Lock()

    def look_up(self, name: MapName, stored: Sequence[bytes]) -> list[int | None]:
        """Return for each key its hits << 8 | action, or None where there is no entry."""
        found: list[int | None] = []
        head = request_head(TableOp.LOOK_UP, TABLES[name].ref)
        for start in range(0, len(stored), TABLE_REQUESTS):
            part = stored[start : start + TABLE_REQUESTS]
            with self._lock:
                results = self._serve(name, _records(head, part), len(part))
                values = self._words[_VALUE : len(part) * _WORDS : _WORDS].tolist()
            found += [
                value ^ _USED if result == TableResult.FOUND else None
                for result, value in zip(results, values, strict=True)
            ]
        return found

    def places(self, name: MapName, stored: Sequence[bytes]) -> list[int]:
        """Return the number of the slot that each entry is in; tests read and write there.

        Args:
            name: of the map.
            stored: keys that are there, no more than fit into the requests.
        """
        with self._lock:
            self._serve(name, _records(request_head(TableOp.LOOK_UP, TABLES[name].ref), stored),
                        len(stored))  # fmt: skip
            return self._records.cast("I")[1 : len(stored) * 2 * _WORDS : 2 * _WORDS].tolist()

    def put(self, name: MapName, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        """Write entries in their order; return how many were made.

        An entry that is there keeps its counter, unless ACTION_RENEW is set in its action.

        Raises:
            TableFullError: `done` keys were written, `created` of them made.
            KernelError: `done` keys were written; EINVAL: the next is not a key of this map.
        """
        created = 0
        ref = TABLES[name].ref
        heads = {action: request_head(TableOp.PUT, ref, action) for action in set(actions)}
        for start in range(0, len(stored), TABLE_REQUESTS):
            part = stored[start : start + TABLE_REQUESTS]
            chosen = actions[start : start + TABLE_REQUESTS]
            if chosen.count(chosen[0]) == len(chosen):
                records = _records(heads[chosen[0]], part)
            else:
                records = b"".join(
                    (heads[action] + key).ljust(REQUEST_SIZE, b"\0")
                    for action, key in zip(chosen, part, strict=True)
                )
            with self._lock:
                try:
                    results = self._serve(name, records, len(part))
                except KernelError as error:
                    error.done += start
                    if isinstance(error, TableFullError):
                        error.created += created
                    raise
            created += results.count(TableResult.CREATED)
        return created

    def remove(self, name: MapName, stored: Sequence[bytes]) -> int:
        """Remove entries; return how many were there."""
        return self._each(TableOp.REMOVE, name, stored).count(TableResult.FOUND)

    def add_hits(self, name: MapName, slots: int) -> None:
        """Add what a former table has counted, which this program was loaded with.

        Args:
            name: LIST_SOURCES, or either of the others for the table that they share.
            slots: of the former table.
        """
        head = request_head(TableOp.ADD_HITS, TABLES[name].ref, number=0, count=slots)
        with self._lock:
            self._serve(name, head.ljust(REQUEST_SIZE, b"\0"), 1)

    def _each(self, op: TableOp, name: MapName, stored: Sequence[bytes]) -> bytes:
        """Ask the same for each key; return the results."""
        results = b""
        head = request_head(op, TABLES[name].ref)
        for start in range(0, len(stored), TABLE_REQUESTS):
            part = stored[start : start + TABLE_REQUESTS]
            with self._lock:
                results += self._serve(name, _records(head, part), len(part))
        return results

    def _serve(self, name: MapName, records: bytes, count: int) -> bytes:
        """Have so many requests done; return their results.

        Raises:
            TableFullError, KernelError: `done` were done before, `created` entries made.
        """
        self._records[: len(records)] = records
        self._queue[0], self._queue[1] = 0, count
        runs = count
        while self._queue[0] < self._queue[1]:
            self._program.test_run(_FRAME, runs)
            runs = _MORE_RUNS
        done = self._queue[0]
        results = bytes(self._records[REQUEST_RESULT_OFFSET : done * REQUEST_SIZE : REQUEST_SIZE])
        if results[-1] in (TableResult.FULL, TableResult.INVALID):
            raise self._error(name, results)
        return results

    def _error(self, name: MapName, results: bytes) -> KernelError:
        """Return the error of the last of these requests, behind which nothing was done."""
        if results[-1] == TableResult.INVALID:
            error = KernelError(f"cannot use a key of {name}", errno.EINVAL)
        else:
            error = full = TableFullError(name, self._capacity(name))
            full.created = results.count(TableResult.CREATED)
        error.done = len(results) - 1
        return error


def _records(head: bytes, stored: Sequence[bytes]) -> bytes:
    """Return a request for each key, end to end."""
    size = REQUEST_SIZE - len(head)
    lengths = set(map(len, stored))
    if len(lengths) == 1:
        rest = bytes(size - lengths.pop())
        return head + (rest + head).join(stored) + rest
    return head + head.join([key.ljust(size, b"\0") for key in stored])
