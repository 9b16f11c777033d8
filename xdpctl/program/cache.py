"""Keeps bytecode from one start to the next, so that a start need not compile.

Owns the folder beside the state file, its files, their format, and the checks that an entry must
pass. An entry fits only the configuration, C files, flags, kernel and xdpctl version that it was
compiled from, and the installed compiler; if none is installed, any compiler. An entry that is
damaged, that other users could have written, or that cannot be stored is logged as one sentence,
and the filter is compiled again: the cache never stops a start. Does not own compiling
(compiler.py).

    magic | digest of all that follows | key | compiler | length of bcc's version | it | code

Made by service/bootstrap.py, and called by service/ through `CachingCompiler`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl import __version__
from xdpctl.errors import CompilerError, KernelError
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.kernel.paths import open_directory
from xdpctl.process.log import event
from xdpctl.process.threads import Threads
from xdpctl.program import bcc_process
from xdpctl.program.compiler import (
    Compilation,
    function_of,
    main_text,
    remove_abandoned,
    source_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from xdpctl.program.config import Recipe

FOLDER = "bytecode"
"""Beside the state file."""

KEPT = 16
"""Most entries: two for each configuration that a host uses in turn, and the table program."""

SIZE_MAX = 1 << 20
"""Most bytes of a file; an entry has about 11,000."""

_log = logging.getLogger(__name__)
_identifying = threading.Lock()
_MAGIC = b"xdpctl bytecode 1\n"
_DIGEST = hashlib.sha256().digest_size
_HEADER = struct.Struct(f">{_DIGEST}s{_DIGEST}sH")  # key, compiler, length of bcc's version
_INSTRUCTION = 8
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_NEW = ".new-"
_ABANDONED_SECONDS = 60.0


class UnfitError(Exception):
    """A file that is not trusted; the text says why. Stays in this module."""


def encode(key: bytes, compiler: bytes, bytecode: Bytecode) -> bytes:
    """Return an entry; key and compiler are digests."""
    version = bytecode.bcc.encode()
    body = _HEADER.pack(key, compiler, len(version)) + version + bytecode.instructions
    return _MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes, key: bytes) -> tuple[bytes, Bytecode]:
    """Return the compiler and the bytecode of an entry for `key`.

    Raises:
        UnfitError: it is not an entry, or is for another key; the text is half a sentence.
    """
    start = len(_MAGIC) + _DIGEST
    body = data[start:]
    if not data.startswith(_MAGIC) or len(body) < _HEADER.size:
        raise UnfitError("it is not a file of this version of xdpctl")
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
        raise UnfitError("it is damaged: its digest does not match")
    found, compiler, size = _HEADER.unpack_from(body)
    if found != key:
        raise UnfitError("it belongs to another configuration")
    instructions = body[_HEADER.size + size :]
    if not instructions or len(instructions) % _INSTRUCTION:
        raise UnfitError("it holds no program")
    version = body[_HEADER.size : _HEADER.size + size].decode(errors="replace")
    return compiler, Bytecode(instructions, version)


def key_of(recipe: Recipe) -> bytes:
    """Return the digest of what makes the bytecode, but for the compiler. Blocks."""
    parts: list[bytes | str] = [
        *(__version__, function_of(recipe), *bcc_process.FLAGS, main_text(recipe)),
        *(os.uname().machine, os.uname().release, sys.byteorder),
    ]
    for name, data in source_files():
        parts += (name, data)
    return _digest(parts)


def installed_compiler() -> bytes | None:
    """Return a digest that identifies the installed compiler; None if there is no bcc. Blocks.

    Made of the names, sizes and times of bcc's modules, libbcc and LLVM; opens none of them. One
    thread at a time: of two that look at once, one may overlook files.
    """
    with _identifying:
        return _identify_compiler()


def _identify_compiler() -> bytes | None:
    try:
        spec = find_spec("bcc")
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    files = [Path(place) for place in (spec.submodule_search_locations or ()) if place]
    files = [file for folder in files for file in folder.glob("*.py")] or [Path(spec.origin or "/")]
    for folder in _library_folders():
        for pattern in ("libbcc.so*", "libLLVM*.so*", "libclang-cpp*.so*"):
            files += folder.glob(pattern)
    parts = []
    for file in sorted(set(files)):
        with suppress(OSError):
            found = file.stat()
            parts.append(f"{file} {found.st_size} {found.st_mtime_ns}")
    return _digest(parts)


def _library_folders() -> list[Path]:
    triplet: str = getattr(sys.implementation, "_multiarch", "")  # sysconfig takes half a megabyte
    return [Path("/usr/lib", triplet), Path("/usr/lib64"), Path("/usr/local/lib")]


def _digest(parts: Iterable[bytes | str]) -> bytes:
    """Return the digest of parts. Each is hashed with its length, so parts cannot run together."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(struct.pack(">Q", len(data)) + data)
    return digest.digest()


class BytecodeCache:
    """The folder. Every method blocks, for some milliseconds.

    Args:
        folder: made when the first entry is stored.
        compiler: identifies the installed compiler.
    """

    def __init__(
        self, folder: Path, compiler: Callable[[], bytes | None] = installed_compiler
    ) -> None:
        self._folder = folder
        self._compiler = compiler
        self._warned: set[str] = set()

    def load(self, key: bytes) -> Bytecode | None:
        """Return the bytecode for a key; None if it must be compiled. Logs an unfit entry."""
        path = self._folder / _name(key)
        try:
            compiler, bytecode = decode(self._read(path.name), key)
        except FileNotFoundError:
            return None
        except (OSError, UnfitError) as error:
            self._warn(
                f"the compiled program in {path} is not used: ",
                error,
                "the filter is compiled again",
            )
            return None
        installed = self._compiler()
        if installed not in (None, compiler):
            event(_log, "bytecode-outdated", logging.DEBUG, path=path)
            return None
        with suppress(OSError):  # a full or read-only disk: the entry only counts as old
            self._touch(path.name)
        return bytecode

    def store(self, key: bytes, bytecode: Bytecode) -> None:
        """Store bytecode in place of a former entry; log a failure."""
        compiler = self._compiler()
        if compiler is None:
            return
        try:
            open_directory(self._folder.parent, make=0o750, parents=0o755).close()
            open_directory(self._folder, make=0o700).close()
            self._write(_name(key), encode(key, compiler, bytecode))
            self._remove_old()
        except (OSError, UnfitError) as error:
            self._warn(
                f"cannot keep the compiled program in {self._folder}: ",
                error,
                "every start compiles it until this is fixed",
            )

    def _warn(self, what: str, error: OSError | UnfitError, follows: str) -> None:
        """Log a warning, unless it has the same cause and consequence as an earlier one."""
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if (cause := f"{why}; {follows}") not in self._warned:
            self._warned.add(cause)
            event(_log, "warning", logging.WARNING, text=what + cause)

    def _read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            UnfitError: another user can have written it.
        """
        folder = self._open_folder()
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
                _check_owner(os.fstat(file.fileno()), stat.S_ISREG)
                return file.read(SIZE_MAX)
        finally:
            os.close(folder)

    def _write(self, name: str, data: bytes) -> None:
        """Write a file atomically. It is not synced, because its digest is checked later."""
        folder = self._open_folder()
        new = f"{_NEW}{os.getpid()}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:
                    file.write(data)
                os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(new, dir_fd=folder)
                raise
        finally:
            os.close(folder)

    def _touch(self, name: str) -> None:
        """Mark a file as used now."""
        folder = self._open_folder()
        try:
            os.utime(name, dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with open_directory(self._folder.parent) as parent:
            folder = os.open(self._folder.name, flags, dir_fd=parent.fd)
        try:
            _check_owner(os.fstat(folder), stat.S_ISDIR)
        except UnfitError:
            os.close(folder)
            raise
        return folder

    def _remove_old(self) -> None:
        """Remove the entries unused for longest, and unfinished files of killed services."""
        folder = self._open_folder()
        try:
            with os.scandir(folder) as listed:
                found = [(entry.stat(follow_symlinks=False), entry.name) for entry in listed]
            entries = sorted(
                ((status.st_mtime, name) for status, name in found if name[0] != "."),
                reverse=True,
            )
            gone = [name for _, name in entries[KEPT:]]
            abandoned = time.time() - _ABANDONED_SECONDS
            gone += [
                name
                for status, name in found
                if name.startswith(_NEW) and status.st_mtime < abandoned
            ]
            for name in gone:
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)


@dataclass(frozen=True, slots=True)
class _Begun:
    config: Recipe
    compilation: Compilation
    bytecode: Future[Bytecode]


class CachingCompiler:
    """Returns the bytecode of a configuration: from the cache, or compiled and then cached.

    Args:
        cache: the cache.
        compilation: makes a compilation, which can be run and cancelled.
    """

    def __init__(
        self, cache: BytecodeCache, compilation: Callable[..., Compilation] = Compilation
    ) -> None:
        self._cache = cache
        self._compilation = compilation
        self._threads = Threads(thread_name_prefix="compile")
        self._begun: dict[Recipe, _Begun] = {}
        self._first: Recipe | None = None
        self._ahead: _Begun | None = None
        self._keeping = threading.Lock()

    def begin(self, config: Recipe, *later: Recipe) -> None:
        """Begin on threads; the next call for the same configuration waits for what is left.

        Args:
            config: what the next call is for. If that is for another one, this is cancelled.
            later: what other calls will be for.

        Raises:
            KernelError: a thread cannot be started.
        """
        self._first = config
        for recipe in (config, *later):
            self._begun[recipe] = self._begin(recipe)

    def close(self) -> None:
        """Cancel an unused compilation. Blocks until compiling and storing have ended."""
        for begun in self._begun.values():
            begun.compilation.cancel()
        self._threads.shutdown()

    async def __call__(self, config: Recipe) -> Bytecode:
        """Return the bytecode; cancelling ends a compilation.

        Raises:
            CompilerError: as `Compilation.run`.
            KernelError: as `begin`.
        """
        import asyncio  # noqa: PLC0415 - a compilation begins before this is loaded

        first, self._first = self._first, None
        if first is not None and first != config:
            self._begun.pop(first).compilation.cancel()
        begun = self._begun.pop(config, None)
        if self._ahead is not None and self._ahead.config == config:
            self._ahead.compilation.cancel()  # at the lowest priority it may take minutes
            self._ahead = None
        begun = begun or self._begin(config)
        try:
            return await asyncio.wrap_future(begun.bytecode)
        except asyncio.CancelledError:
            begun.compilation.cancel()
            raise

    async def ahead(self, config: Recipe) -> None:
        """Compile at the lowest priority what a later call may ask for, unless it is kept.

        A call for the same configuration ends this, and compiles at the usual priority.
        One call at a time; cancelling ends the compilation.

        Raises:
            CompilerError, KernelError: as a call.
        """
        import asyncio  # noqa: PLC0415 - a compilation begins before this is loaded

        begun = self._begun.get(config) or self._begin(config, urgent=False)
        self._ahead = begun
        try:
            await asyncio.wrap_future(begun.bytecode)
        except asyncio.CancelledError:
            begun.compilation.cancel()
            raise
        except CompilerError:
            if self._ahead is begun:
                raise
        finally:
            self._ahead = None

    def _begin(self, config: Recipe, *, urgent: bool = True) -> _Begun:
        compilation = self._compilation(config, urgent=urgent)
        said = "compiled" if urgent else "compiled-ahead"
        running = self._threads.submit(self._get, config, compilation, said)
        return _Begun(config, compilation, running)

    def _get(self, config: Recipe, compilation: Compilation, said: str) -> Bytecode:
        key = _key_or_none(config)
        if key is not None and (kept := self._cache.load(key)):
            return kept
        bytecode = compilation.run()
        event(_log, said, bcc=bytecode.bcc)
        if key is not None:
            with suppress(KernelError, RuntimeError):  # no thread: the next start compiles
                self._threads.submit(self._keep, key, config, bytecode)
        return bytecode

    def _keep(self, key: bytes, config: Recipe, bytecode: Bytecode) -> None:
        """Keep what was compiled, while it is put to use already; tidy up behind the killed."""
        with self._keeping:
            if _key_or_none(config) == key:  # else: an upgrade ran during the compilation
                self._cache.store(key, bytecode)
            remove_abandoned()


def _key_or_none(config: Recipe) -> bytes | None:
    try:
        return key_of(config)
    except OSError:  # compiling then fails with a better sentence
        return None


def _name(key: bytes) -> str:
    return key.hex()[:32]


def _check_owner(found: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    """Refuse a file or folder that another user owns or may write to.

    Raises:
        UnfitError: another user does.
    """
    if not is_kind(found.st_mode):
        raise UnfitError("it is not a regular file in a folder")
    if found.st_uid not in (0, os.geteuid()):
        raise UnfitError(f"it or its folder belongs to user {found.st_uid}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise UnfitError(
            f"other users can write to it or its folder (mode {stat.S_IMODE(found.st_mode):04o})"
        )
