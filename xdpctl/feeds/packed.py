"""Unpacks a list that is compressed: gzip, and a zip archive of one file.

Owns which packings are read, their bounds, and the sentences about those that are not. A packed
file that ends early is an error, because gzip and zip have a trailer. Does not own the text in
it. Everything blocks. Called by reader.py.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, cast

from xdpctl.errors import ListError
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.feeds.bounded import Octets

UNPACKED_MAX = 2**30
"""Octets of an unpacked list."""

MEMBERS_MAX = 1_000
"""Entries of a zip archive whose directory is read."""

_GZIP, _ZIP, _EMPTY_ZIP = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
_OTHERS = {
    b"BZh": "it is compressed with bzip2: unpack it with `bunzip2`",
    b"\xfd7zXZ": "it is compressed with xz: unpack it with `unxz`",
    b"\x5d\x00\x00": "it is compressed with lzma: unpack it with `unlzma`",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd: unpack it with `unzstd`",
    b"\x04\x22\x4d\x18": "it is compressed with lz4: unpack it with `unlz4`",
    b"\x1f\x9d": "it is compressed with compress: unpack it with `uncompress`",
    b"7z\xbc\xaf\x27\x1c": "it is a 7z archive: unpack it with `7z x`",
    b"Rar!": "it is a rar archive: unpack it with `unrar x`",
}
"""What is not unpacked here, by its first octets."""

_NO_TEXTS = {
    b"\xff\xfe\0\0": "it is UTF-32: convert it with `iconv -f utf-32 -t utf-8`",
    b"\0\0\xfe\xff": "it is UTF-32: convert it with `iconv -f utf-32 -t utf-8`",
    b"\xff\xfe": "it is UTF-16: convert it with `iconv -f utf-16 -t utf-8`",
    b"\xfe\xff": "it is UTF-16: convert it with `iconv -f utf-16 -t utf-8`",
    b"\0\0\0\x02\0\0\0": "it is a zone in BIND's raw format: write it as text with"
    " `named-compilezone -f raw -F text`",
}
_TAR, _TAR_AT = b"ustar", 257
_PEEKED = 512
_NULS = re.compile(rb"(?:\0[^\0])+\0?|(?:[^\0]\0)+[^\0]?")
"""UTF-16 of characters below 256, without its mark."""

HEAD = 8
"""Octets of a file that show how it is packed."""

_NO_CONTENT = "__MACOSX/"
"""What macOS adds to an archive: no file of its own."""

_NAMED, _ENCRYPTED = 3, 1

_DIRECTORY_END = struct.Struct("<4s4H2LH")
_ENTRY = 46
"""Octets of an entry in the directory, without its name."""

_DIRECTORY_END_MAX = _DIRECTORY_END.size + 0xFFFF


def is_packed(head: bytes) -> bool:
    """Return whether a file that begins so is packed, so that it has a trailer."""
    return head.startswith((_GZIP, _ZIP, _EMPTY_ZIP))


def unpacked(stream: Octets) -> tuple[Octets, str]:
    """Return what is in a file, and how it was packed: `gzip`, `zip` or an empty text.

    Args:
        stream: the file, at its start; seekable.

    Raises:
        ListError: it is packed in another way, is damaged, or has more than one file in it.
            Reading and seeking in what is returned raise it too.
    """
    head = _peeked(stream)
    found, packing = stream, ""
    if head.startswith(_GZIP):
        found, packing = _Unpacking(_gunzipped, stream, "gzip"), "gzip"
    elif head.startswith((_ZIP, _EMPTY_ZIP)):
        found, packing = _Unpacking(_member, stream, "zip"), "zip"
    if packing:
        head = _peeked(found)
        if is_packed(head):
            raise ListError(
                f"it is a {packing} file with another packed file in it: unpack it once"
            )
    _refuse(head)
    return found, packing


def _peeked(stream: Octets) -> bytes:
    head = stream.read(_PEEKED)
    stream.seek(0)
    return head


def _refuse(head: bytes) -> None:
    """Raise ListError for what is packed in another way, or is no text in UTF-8."""
    for mark, what in _OTHERS.items():
        if head.startswith(mark):
            raise ListError(f"{what} (gzip and zip are unpacked here)")
    if head.startswith(_TAR, _TAR_AT):
        raise ListError("it is a tar archive: unpack it with `tar -xf`, and use one of its files")
    for mark, what in _NO_TEXTS.items():
        if head.startswith(mark):
            raise ListError(what)
    if b"\0" in head and _NULS.fullmatch(head):
        raise ListError("it is UTF-16: convert it with `iconv -f utf-16le -t utf-8`")


class _Unpacking:
    """What is packed in a file; read from its start to its end.

    Args:
        begin: begins to unpack, with the file at its start.
        stream: the file.
        name: of the packing.
    """

    def __init__(self, begin: Callable[[IO[bytes]], IO[bytes]], stream: Octets, name: str) -> None:
        self._begin = begin
        self._stream = stream
        self._name = name
        self._inner: IO[bytes] | None = None
        self._count = 0

    def read(self, size: int, /) -> bytes:
        """Return the next octets, empty at the end.

        Raises:
            ListError: the file is damaged, not complete or too long.
        """
        try:
            if self._inner is None:
                self._inner = self._begin(cast("IO[bytes]", self._stream))
            data = self._inner.read(size)
        except EOFError as error:
            raise ListError(
                f"it is a {self._name} file that is not complete: it was cut, fetch it again"
            ) from error
        except _DAMAGED as error:
            reason = str(error) or type(error).__name__
            raise ListError(
                f"it is a {self._name} file that cannot be unpacked: {reason}"
            ) from error
        self._count += len(data)
        if self._count > UNPACKED_MAX:
            raise ListError(f"it has more than {UNPACKED_MAX:,} octets when it is unpacked")
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Begin again."""
        if offset or whence:
            raise io.UnsupportedOperation("a packed list is read from its start")
        self._stream.seek(0)
        self._inner, self._count = None, 0
        return 0

    def tell(self) -> int:
        """Return the place in the packed file."""
        return self._stream.tell()

    def fileno(self) -> int:
        """Return the descriptor of the packed file."""
        return self._stream.fileno()


_DAMAGED = (
    OSError,  # gzip.BadGzipFile is one
    zlib.error,
    zipfile.BadZipFile,
    RuntimeError,  # encrypted; NotImplementedError is one
    ValueError,
    struct.error,
)


def _gunzipped(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))


def _member(stream: IO[bytes]) -> IO[bytes]:
    """Open the only file in an archive."""
    if _members(stream) > MEMBERS_MAX:
        raise ListError(
            "it is a zip archive of many files: unpack it with `unzip`, and use one of them"
        )
    with zipfile.ZipFile(stream) as archive:
        files = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith(_NO_CONTENT)
        ]
        if not files:
            raise ListError("it is a zip archive without a file")
        if len(files) > 1:
            names = ", ".join(shown(member.filename) for member in files[:_NAMED])
            more = ", …" if len(files) > _NAMED else ""
            raise ListError(
                f"it is a zip archive of {len(files)} files ({names}{more}): unpack it with"
                " `unzip`, and use one of them"
            )
        if files[0].flag_bits & _ENCRYPTED:
            raise ListError("it is an encrypted zip archive: unpack it with `unzip -P PASSWORD`")
        return archive.open(files[0])


def _members(stream: IO[bytes]) -> int:
    """Return how many entries an archive claims to have, before all of them are read."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - _DIRECTORY_END_MAX))
    tail = stream.read()
    stream.seek(0)
    place = tail.rfind(_EMPTY_ZIP)
    if place < 0 or len(tail) - place < _DIRECTORY_END.size:
        raise EOFError
    fields = _DIRECTORY_END.unpack_from(tail, place)
    entries, octets = fields[4], fields[5]
    return max(int(entries), int(octets) // _ENTRY)
