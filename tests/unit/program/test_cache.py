"""Kept bytecode: what an entry is, when it is believed, what becomes of the folder."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packets.case import DEFAULT
from tests.support.foreign_module import find_anew
from xdpctl.errors import CompilerError
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.program import cache as module
from xdpctl.program import compiler
from xdpctl.program.cache import (
    FOLDER,
    KEPT,
    BytecodeCache,
    CachingCompiler,
    UnfitError,
    decode,
    encode,
    installed_compiler,
    key_of,
)
from xdpctl.program.config import TableProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.program.compiler import Compilation
    from xdpctl.program.config import Recipe

KEY, COMPILER = bytes(range(32)), bytes(range(32, 64))
OTHER = bytes(32)
BYTECODE = Bytecode(b"\x95" + bytes(7), "0.26.0")
ROOT = 0

digests = st.binary(min_size=32, max_size=32)
programs = st.binary(min_size=8, max_size=8).map(lambda octets: octets * 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / FOLDER


@pytest.fixture
def cache(folder: Path) -> BytecodeCache:
    return BytecodeCache(folder, lambda: COMPILER)


@pytest.fixture
def entry(cache: BytecodeCache, folder: Path) -> Path:
    """The file of an entry for KEY."""
    cache.store(KEY, BYTECODE)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(autouse=True)
def _listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=module.__name__)


def sentences(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings' texts."""
    return [
        cast("str", record.__dict__["xdpctl_fields"]["text"])
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]


# The form of an entry


@given(digests, digests, programs, st.text(max_size=40))
def test_an_entry_is_read_as_it_was_written(
    key: bytes, made_by: bytes, instructions: bytes, version: str
) -> None:
    bytecode = Bytecode(instructions, version)
    assert decode(encode(key, made_by, bytecode), key) == (made_by, bytecode)


@given(st.data())
def test_an_entry_with_any_byte_changed_is_refused(data: st.DataObject) -> None:
    entry = bytearray(encode(KEY, COMPILER, BYTECODE))
    place = data.draw(st.integers(0, len(entry) - 1))
    entry[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UnfitError):
        decode(bytes(entry), KEY)


def test_an_entry_cut_anywhere_is_refused() -> None:
    entry = encode(KEY, COMPILER, BYTECODE)
    for size in range(len(entry)):
        with pytest.raises(UnfitError):
            decode(entry[:size], KEY)


@given(st.binary(max_size=400))
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(UnfitError):
        decode(data, KEY)


def test_an_entry_that_is_longer_is_refused() -> None:
    with pytest.raises(UnfitError):
        decode(encode(KEY, COMPILER, BYTECODE) + bytes(8), KEY)


@pytest.mark.parametrize("instructions", [b"", b"\x95\x00\x00"])
def test_an_entry_without_whole_instructions_is_refused(instructions: bytes) -> None:
    with pytest.raises(UnfitError, match="no program"):
        decode(encode(KEY, COMPILER, Bytecode(instructions)), KEY)


def test_an_entry_under_the_name_of_another_is_refused() -> None:
    with pytest.raises(UnfitError, match="another configuration"):
        decode(encode(OTHER, COMPILER, BYTECODE), KEY)


# What makes the key


def test_the_same_configuration_has_the_same_key() -> None:
    assert key_of(DEFAULT) == key_of(replace(DEFAULT))


def test_another_configuration_has_another_key() -> None:
    assert key_of(DEFAULT) != key_of(replace(DEFAULT, tcp=not DEFAULT.tcp))


def test_another_version_of_ours_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(DEFAULT)
    monkeypatch.setattr(module, "__version__", "0.0.0")
    assert key_of(DEFAULT) != before


def test_other_flags_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(DEFAULT)
    monkeypatch.setattr("xdpctl.program.bcc_process.FLAGS", ("-O1",))
    assert key_of(DEFAULT) != before


@pytest.mark.parametrize("name", ["dns.h", "shim/include/linux/log2.h"])
def test_a_changed_header_has_another_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, data in list(compiler.source_files()):
        copy = tmp_path / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
    monkeypatch.setattr(compiler, "source_directory", lambda: tmp_path)
    before = key_of(DEFAULT)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    assert key_of(DEFAULT) != before


@pytest.fixture
def bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `bcc` that is found first."""
    package = tmp_path / "modules" / "bcc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('it is not to be imported')\n")
    (package / "version.py").write_text("__version__ = '0.26.0'\n")
    monkeypatch.syspath_prepend(package.parent)
    find_anew(monkeypatch, "bcc")
    return package


def test_another_bcc_is_another_compiler(bcc: Path) -> None:
    before = installed_compiler()
    (bcc / "version.py").write_text("__version__ = '0.26.0+1'\n")
    assert installed_compiler() not in (None, before)


def test_another_llvm_is_another_compiler(
    bcc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bcc.is_dir()
    monkeypatch.setattr(module, "_library_folders", lambda: [tmp_path])
    before = installed_compiler()
    (tmp_path / "libLLVM-99.so.1").write_bytes(b"")
    assert installed_compiler() not in (None, before)


def test_without_bcc_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert installed_compiler() is None


# What is believed


def test_what_was_stored_is_loaded(cache: BytecodeCache) -> None:
    cache.store(KEY, BYTECODE)
    assert cache.load(KEY) == BYTECODE


def test_nothing_is_there_at_first_and_nothing_is_said(
    cache: BytecodeCache, caplog: pytest.LogCaptureFixture
) -> None:
    assert (cache.load(KEY), sentences(caplog)) == (None, [])


@pytest.mark.usefixtures("entry")
def test_after_the_compiler_changed_an_entry_is_not_used(folder: Path) -> None:
    assert BytecodeCache(folder, lambda: OTHER).load(KEY) is None


@pytest.mark.usefixtures("entry")
def test_after_the_compiler_went_away_an_entry_is_used(folder: Path) -> None:
    assert BytecodeCache(folder, lambda: None).load(KEY) == BYTECODE


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def replace_by_a_link(file: Path) -> None:
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)


def replace_by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_the_folder_by_a_link(file: Path) -> None:
    other = file.parent.with_name("other")
    file.parent.rename(other)
    file.parent.symlink_to(other)


SPOILED = {
    "damaged": damage,
    "empty": lambda file: file.write_bytes(b""),
    "writable by its group": lambda file: file.chmod(0o660),
    "writable by all": lambda file: file.chmod(0o602),
    "in a folder that all may write": lambda file: file.parent.chmod(0o777),
    "a link": replace_by_a_link,
    "a pipe": replace_by_a_pipe,
    "a folder": replace_by_a_folder,
    "in a folder that is a link": replace_the_folder_by_a_link,
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_file_that_is_not_to_be_believed_is_ignored_with_one_sentence(
    how: str, entry: Path, cache: BytecodeCache, caplog: pytest.LogCaptureFixture
) -> None:
    SPOILED[how](entry)
    assert cache.load(KEY) is None
    (sentence,) = sentences(caplog)
    assert sentence.startswith(f"the compiled program in {entry} is not used: ")
    assert sentence.endswith("; the filter is compiled again")


@pytest.mark.parametrize("place", ["file", "folder"])
def test_what_another_user_owns_is_ignored(
    place: str,
    entry: Path,
    cache: BytecodeCache,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owned = (entry if place == "file" else entry.parent).stat().st_ino
    fstat = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        if found.st_ino != owned:
            return found
        return os.stat_result((*found[:4], 4242, *found[5:]))

    monkeypatch.setattr("xdpctl.program.cache.os.fstat", of_another)
    assert cache.load(KEY) is None
    assert "belongs to user 4242" in "".join(sentences(caplog))


# What becomes of the folder


def test_only_the_service_may_read_and_write_what_is_kept(entry: Path) -> None:
    assert [path.stat().st_mode & 0o777 for path in (entry.parent, entry)] == [0o700, 0o600]


@pytest.mark.usefixtures("entry")
def test_a_damaged_entry_is_replaced(cache: BytecodeCache, entry: Path) -> None:
    damage(entry)
    cache.store(KEY, BYTECODE)
    assert cache.load(KEY) == BYTECODE


def test_a_few_are_kept_and_those_are_the_last_used(cache: BytecodeCache, folder: Path) -> None:
    keys = [hashlib.sha256(bytes([number])).digest() for number in range(KEPT + 2)]
    for age, key in enumerate(keys[:-1]):
        cache.store(key, BYTECODE)
        file = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(file, (1_000_000 + age, 1_000_000 + age))
    assert cache.load(keys[1]) == BYTECODE
    cache.store(keys[-1], BYTECODE)
    loaded = [key for key in keys if cache.load(key)]
    assert len(loaded) == KEPT
    assert loaded == [keys[1], *keys[3:]]


@pytest.mark.usefixtures("entry")
def test_what_a_killed_service_left_half_written_goes(cache: BytecodeCache, folder: Path) -> None:
    left = folder / ".new-1"
    left.write_bytes(b"half")
    os.utime(left, (1_000_000, 1_000_000))
    cache.store(OTHER, BYTECODE)
    assert not left.exists()


def test_where_nothing_can_be_kept_a_sentence_says_so(
    folder: Path, cache: BytecodeCache, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way(folder)
    cache.store(KEY, BYTECODE)
    (sentence,) = sentences(caplog)
    assert sentence.startswith(f"cannot keep the compiled program in {folder}: ")


def test_a_full_disk_leaves_no_half_file_and_a_sentence(
    folder: Path,
    cache: BytecodeCache,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xdpctl.program.cache.os.rename", full)
    cache.store(KEY, BYTECODE)
    assert list(folder.iterdir()) == []
    assert "No space left on device" in "".join(sentences(caplog))


def test_nothing_is_written_into_a_folder_that_others_may_write(
    folder: Path, cache: BytecodeCache
) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    cache.store(KEY, BYTECODE)
    assert list(folder.iterdir()) == []


# The compiler in front of which it stands


def in_the_way(folder: Path) -> None:
    """Put a file where the folder should be."""
    folder.parent.mkdir()
    folder.write_text("a file in the way")


def kept(folder: Path) -> list[str]:
    """Return the names of what is kept."""
    return [path.name for path in folder.iterdir()] if folder.exists() else []


class Compiler:
    """Counts what it compiles."""

    def __init__(self) -> None:
        self.compiled = 0
        self.asked: list[Recipe] = []
        self.urgent: list[bool] = []
        self.error: CompilerError | None = None
        self.begun, self.cancelled = threading.Event(), threading.Event()
        self.hangs = False

    def compilation(self, config: Recipe, *, urgent: bool) -> Compilation:
        self.asked.append(config)
        self.urgent.append(urgent)
        return cast("Compilation", self)

    def run(self) -> Bytecode:
        self.compiled += 1
        self.begun.set()
        hangs, self.hangs = self.hangs, False
        if hangs and self.cancelled.wait(10):
            raise CompilerError("cancelled")
        if self.error is not None:
            raise self.error
        return BYTECODE

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def made() -> Iterator[Compiler]:
    compiler = Compiler()
    yield compiler
    compiler.cancel()


def caching(cache: BytecodeCache, made: Compiler) -> CachingCompiler:
    return CachingCompiler(cache, made.compilation)


async def what_gives(compiler: CachingCompiler, config: Recipe = DEFAULT) -> Bytecode:
    """Return what a compiler gives, when all that is to be kept of it is kept."""
    try:
        return await compiler(config)
    finally:
        await asyncio.to_thread(compiler.close)


async def test_a_second_start_compiles_nothing(cache: BytecodeCache, made: Compiler) -> None:
    first = await what_gives(caching(cache, made))
    second = await what_gives(caching(cache, made))
    assert (first, second, made.compiled) == (BYTECODE, BYTECODE, 1)


async def test_another_configuration_is_compiled(cache: BytecodeCache, made: Compiler) -> None:
    await what_gives(caching(cache, made))
    await what_gives(caching(cache, made), replace(DEFAULT, tcp=not DEFAULT.tcp))
    assert made.compiled == 2


async def test_what_cannot_be_kept_is_used_all_the_same(
    cache: BytecodeCache, made: Compiler, folder: Path
) -> None:
    in_the_way(folder)
    assert await what_gives(caching(cache, made)) == BYTECODE


async def test_the_compilers_error_is_the_error_and_nothing_is_kept(
    cache: BytecodeCache, made: Compiler, folder: Path
) -> None:
    made.error = CompilerError("cannot compile")
    with pytest.raises(CompilerError, match="cannot compile"):
        await what_gives(caching(cache, made))
    assert not kept(folder)


async def test_files_that_changed_while_it_compiled_are_not_kept(
    cache: BytecodeCache, made: Compiler, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = iter([KEY, OTHER])
    monkeypatch.setattr(module, "key_of", lambda _: next(keys))
    assert await what_gives(caching(cache, made)) == BYTECODE
    assert not kept(folder)


async def test_cancelling_cancels_the_compilation(cache: BytecodeCache, made: Compiler) -> None:
    made.hangs = True
    task = asyncio.create_task(caching(cache, made)(DEFAULT))
    assert await asyncio.to_thread(made.begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made.cancelled.is_set()


async def test_what_was_begun_is_what_the_call_gives(cache: BytecodeCache, made: Compiler) -> None:
    compiler = caching(cache, made)
    compiler.begin(DEFAULT)
    assert await asyncio.to_thread(made.begun.wait, 10)
    assert (await compiler(DEFAULT), made.compiled) == (BYTECODE, 1)


async def test_what_was_begun_for_another_configuration_is_not_what_the_call_gives(
    cache: BytecodeCache, made: Compiler
) -> None:
    other = replace(DEFAULT, tcp=not DEFAULT.tcp)
    compiler = caching(cache, made)
    compiler.begin(other)
    await compiler(DEFAULT)
    assert made.asked == [other, DEFAULT]


async def test_what_later_calls_are_for_is_begun_as_well_and_compiled_once(
    cache: BytecodeCache, made: Compiler
) -> None:
    later = replace(DEFAULT, tables=True)
    compiler = caching(cache, made)
    compiler.begin(DEFAULT, later, TableProgram())
    assert [await compiler(each) for each in (DEFAULT, later, TableProgram())] == [BYTECODE] * 3
    assert made.compiled == 3
    await asyncio.to_thread(compiler.close)


async def test_a_compilation_ahead_of_what_was_begun_waits_for_that(
    cache: BytecodeCache, made: Compiler
) -> None:
    later = replace(DEFAULT, tables=True)
    compiler = caching(cache, made)
    compiler.begin(DEFAULT, later)
    await compiler.ahead(later)
    await compiler(DEFAULT)  # begun as well, and maybe not at its end yet
    assert (made.compiled, made.urgent) == (2, [True, True])


async def test_what_failed_before_it_was_asked_for_raises_then(
    cache: BytecodeCache, made: Compiler
) -> None:
    made.error = CompilerError("cannot compile")
    compiler = caching(cache, made)
    compiler.begin(DEFAULT)
    with pytest.raises(CompilerError, match="cannot compile"):
        await compiler(DEFAULT)


def test_closing_cancels_what_nobody_asked_for(cache: BytecodeCache, made: Compiler) -> None:
    made.hangs = True
    compiler = caching(cache, made)
    compiler.begin(DEFAULT)
    compiler.close()
    assert made.cancelled.is_set()


async def test_what_was_compiled_ahead_is_not_compiled_again(
    cache: BytecodeCache, made: Compiler
) -> None:
    compiler = caching(cache, made)
    await compiler.ahead(DEFAULT)
    await asyncio.to_thread(compiler.close)
    assert await what_gives(caching(cache, made)) == BYTECODE
    assert (made.compiled, made.urgent[0]) == (1, False)


async def test_what_is_kept_is_not_compiled_ahead(cache: BytecodeCache, made: Compiler) -> None:
    await what_gives(caching(cache, made))
    compiler = caching(cache, made)
    await compiler.ahead(DEFAULT)
    await asyncio.to_thread(compiler.close)
    assert made.compiled == 1


async def test_a_call_ends_a_compilation_ahead_of_the_same_and_compiles_at_once(
    cache: BytecodeCache, made: Compiler
) -> None:
    made.hangs = True
    compiler = caching(cache, made)
    ahead = asyncio.create_task(compiler.ahead(DEFAULT))
    assert await asyncio.to_thread(made.begun.wait, 10)
    assert await compiler(DEFAULT) == BYTECODE
    await ahead  # which is no failure
    assert (made.cancelled.is_set(), made.urgent) == (True, [False, True])
    await asyncio.to_thread(compiler.close)


async def test_a_call_for_another_leaves_a_compilation_ahead_alone(
    cache: BytecodeCache, made: Compiler
) -> None:
    made.hangs = True
    compiler = caching(cache, made)
    ahead = asyncio.create_task(compiler.ahead(DEFAULT))
    assert await asyncio.to_thread(made.begun.wait, 10)
    assert await compiler(replace(DEFAULT, tcp=not DEFAULT.tcp)) == BYTECODE
    assert not made.cancelled.is_set()
    ahead.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ahead
    assert made.cancelled.is_set()
    await asyncio.to_thread(compiler.close)


async def test_a_failure_ahead_is_raised_and_the_call_tries_again(
    cache: BytecodeCache, made: Compiler
) -> None:
    made.error = CompilerError("cannot compile")
    compiler = caching(cache, made)
    with pytest.raises(CompilerError, match="cannot compile"):
        await compiler.ahead(DEFAULT)
    made.error = None
    assert await what_gives(compiler) == BYTECODE


async def test_that_programs_cannot_be_kept_is_said_once(
    cache: BytecodeCache, made: Compiler, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way(folder)
    compiler = caching(cache, made)
    await compiler(DEFAULT)
    await compiler.ahead(replace(DEFAULT, tables=True))
    await asyncio.to_thread(compiler.close)
    kept_not = [r for r in caplog.records if "cannot keep" in str(vars(r))]
    assert len(kept_not) == 1


def test_two_threads_never_look_for_the_compiler_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two starts of a compilation looks; together, one of them overlooked libraries."""
    looking, most = threading.Semaphore(1), []

    def look() -> bytes:
        alone = looking.acquire(blocking=False)
        most.append(alone)
        time.sleep(0.02)
        if alone:
            looking.release()
        return b""

    monkeypatch.setattr(module, "_identify_compiler", look)
    threads = [threading.Thread(target=installed_compiler) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [True] * 4
