"""Parts of a long list, kept on the disk until they are needed.

A list of a million rules is worked on within a few dozen megabytes: what is not at hand waits
here, in a file without a name beside the state file, which is gone with the process however that
ends. A short list stays in memory. Owns that file. Does not own what a part means (sorting.py,
fresh.py). Everything blocks.
"""

from __future__ import annotations

import marshal
import tempfile
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

from xdpctl.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

IN_MEMORY = 4 * 2**20
"""Octets of a list up to which there is no file."""

Part: TypeAlias = "tuple[Sequence[bytes], Sequence[int] | int]"
"""Keys, and a number for each of them; one number: that of all."""

Place: TypeAlias = "tuple[int, int]"
"""Where a part begins, and how many octets it has."""

_FORMAT = 2
"""Of marshal: later ones would look each key up, to write it once only."""


class Spool:
    """The parts of one list, until it is closed.

    Args:
        directory: where the file is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: IO[bytes] | None = None
        self._end = 0

    def close(self) -> None:
        """Forget all parts."""
        if self._file is not None:
            self._file.close()

    def write(self, part: Part) -> Place:
        """Keep a part; return where it is.

        Raises:
            StateError: there is no room.
        """
        data = marshal.dumps(cast("Any", part), _FORMAT)  # of lists of plain values
        place = self._end, len(data)
        try:
            file = self._opened()
            file.seek(self._end)
            file.write(data)
        except OSError as error:
            raise _error(error) from error
        self._end += len(data)
        return place

    def read(self, place: Place) -> Part:
        """Return a part.

        Raises:
            StateError: the disk fails.
        """
        start, size = place
        try:
            file = self._opened()
            file.seek(start)
            data = file.read(size)
        except OSError as error:
            raise _error(error) from error
        part: Part = marshal.loads(data)  # noqa: S302 - of this process; no other can open the file
        return part

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - until `close`
                max_size=IN_MEMORY, dir=str(self._directory)
            )
        return self._file


def _error(error: OSError) -> StateError:
    return StateError(
        f"cannot keep the list beside the state file: {error.strerror or error}; see that the disk"
        " of --state has room and is writable"
    )
