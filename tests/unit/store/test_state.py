"""The state file keeps notes through crashes, damage and lack of room, or says why not."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdpctl.abi import MapName, RuleAction, encode_qname
from xdpctl.errors import StateError
from xdpctl.kernel import paths
from xdpctl.process.clock import boot_id
from xdpctl.store import state as state_module
from xdpctl.store.state import VERSION, Note, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = b"\x01\x02\x00\xc0"
NOTE = Note(MapName.ADDR_V4, KEY, RuleAction.DROP, "cli", "a flood", 1_700_000_000.5, None, 7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[State]:
    with State.open(path) as opened:
        yield opened


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once where another holds the lock."""
    monkeypatch.setattr(state_module, "PATIENCE", 0.0)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# --- notes -----------------------------------------------------------------------------


def test_a_note_comes_back_as_it_was_put(state: State) -> None:
    state.put([NOTE])
    assert state.get(MapName.ADDR_V4, KEY) == NOTE


def test_what_has_no_note_is_none(state: State) -> None:
    assert state.get(MapName.ADDR_V4, KEY) is None


def test_the_same_key_of_another_map_is_another_entry(state: State) -> None:
    state.put([NOTE])
    assert state.get(MapName.CIDR4, KEY) is None


def test_a_later_note_takes_the_place_of_an_earlier(state: State) -> None:
    later = Note(MapName.ADDR_V4, KEY, RuleAction.PASS, "api", "", 1_700_000_001.0)
    state.put([NOTE])
    state.put([later])
    assert state.notes(MapName.ADDR_V4) == {KEY: later}


def test_a_forgotten_note_is_gone_and_others_are_not(state: State) -> None:
    other = Note(MapName.ADDR_V4, b"\x02\x02\x00\xc0", RuleAction.DROP, "cli", "", 1.0)
    state.put([NOTE, other])
    state.forget([(MapName.ADDR_V4, KEY)])
    assert state.notes(MapName.ADDR_V4) == {other.key: other}


def test_only_the_counters_that_were_seen_change(state: State) -> None:
    state.put([NOTE])
    state.saw_hits([(9, MapName.ADDR_V4, KEY), (9, MapName.CIDR4, KEY)])
    seen = state.get(MapName.ADDR_V4, KEY)
    assert seen is not None
    assert (seen.hits, seen.reason, state.notes(MapName.CIDR4)) == (9, "a flood", {})


def test_the_name_of_a_question_is_kept_to_its_last_octet(state: State) -> None:
    key = encode_qname(b"\x03www\x07example\x00", 65535)
    note = Note(MapName.QNAMES, key, RuleAction.TRUNCATE, "file:x", "", 1.0)
    state.put([note])
    assert state.notes(MapName.QNAMES) == {key: note}


def test_expiries_move_with_the_clock_and_what_stays_for_ever_stays(state: State) -> None:
    passing = Note(MapName.CIDR4, bytes(8), RuleAction.DROP, "cli", "", 1.0, expires=100.0)
    state.put([NOTE, passing])
    state.rebase_expiry(-40.0, "clock", "now")
    expiries = [next(iter(state.notes(name).values())).expires for name in (NOTE.map, passing.map)]
    assert expiries == [None, 60.0]


def test_the_clock_that_expiries_moved_to_is_stored_with_them(state: State) -> None:
    state.rebase_expiry(-40.0, "clock", "now")
    assert state.get_meta("clock") == "now"


def test_a_fact_is_none_until_it_is_stored(state: State) -> None:
    assert state.get_meta("panic") is None


def test_a_fact_is_stored_over_its_former_value(state: State) -> None:
    state.set_meta("panic", "1")
    state.set_meta("panic", "0")
    assert state.get_meta("panic") == "0"


notes = st.builds(
    Note,
    map=st.sampled_from([MapName.ADDR_V6, MapName.CIDR6]),
    key=st.binary(min_size=1, max_size=20),
    action=st.sampled_from(RuleAction),
    origin=st.sampled_from(["cli", "api", "file:x"]),
    reason=st.text(max_size=50).filter(str.isprintable),
    created=st.floats(0, 1e12),
    expires=st.none() | st.floats(0, 1e12),
    hits=st.integers(0, 2**63 - 1),
)


@given(note=notes)
@settings(max_examples=40)
def test_every_note_survives_a_restart(
    tmp_path_factory: pytest.TempPathFactory, note: Note
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.db"
    with State.open(path) as first:
        first.put([note])
    with State.open(path) as second:
        assert second.get(note.map, note.key) == note


# --- all or nothing --------------------------------------------------------------------


def test_a_failure_between_notes_leaves_none_of_them(state: State) -> None:
    def broken() -> Iterator[Note]:
        yield NOTE
        raise RuntimeError

    with pytest.raises(RuntimeError):
        state.put(broken())
    assert state.notes(MapName.ADDR_V4) == {}


def test_a_full_disk_is_one_sentence_and_changes_nothing(state: State) -> None:
    state.put([NOTE])
    state._connection.execute("PRAGMA max_page_count = 1")  # as many as there are
    many = (
        Note(MapName.ADDR_V4, number.to_bytes(4, "big"), RuleAction.DROP, "cli", "x" * 200, 1.0)
        for number in range(500)
    )
    with pytest.raises(StateError, match="is full; nothing was changed"):
        state.put(many)
    assert state.notes(MapName.ADDR_V4) == {KEY: NOTE}


@pytest.mark.usefixtures("no_patience")
def test_a_writer_beside_us_is_one_sentence(path: Path) -> None:
    with State.open(path) as state, sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match=r"cannot write the state file .*locked"):
            state.put([NOTE])
        other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize("read", ["get", "notes", "get_meta"])
def test_what_cannot_be_read_is_one_sentence(state: State, read: str) -> None:
    state._connection.executescript("DROP TABLE note; DROP TABLE meta")
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: state.get(MapName.ADDR_V4, KEY),
        "notes": lambda: state.notes(MapName.ADDR_V4),
        "get_meta": lambda: state.get_meta("panic"),
    }
    with pytest.raises(StateError, match="cannot read the state file"):
        calls[read]()


def test_what_was_written_before_a_kill_is_there_afterwards(path: Path) -> None:
    child = os.fork()
    if child == 0:  # dies without closing anything
        State.open(path).put([NOTE])
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with State.open(path) as state:
        assert state.get(MapName.ADDR_V4, KEY) == NOTE


# --- the file --------------------------------------------------------------------------


def test_the_directory_is_made_for_its_owner_and_group(path: Path) -> None:
    State.open(path).close()
    assert mode(path.parent) == 0o750


def test_the_file_and_what_sqlite_keeps_beside_it_are_not_for_others(path: Path) -> None:
    with State.open(path) as state:
        state.put([NOTE])
        modes = {mode(found) for found in path.parent.iterdir()}
    assert modes == {0o640}


def test_a_directory_that_exists_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    State.open(path).close()
    assert mode(path.parent) == 0o700


def test_the_log_of_writes_is_gone_when_the_state_is_closed(path: Path) -> None:
    with State.open(path) as state:
        state.put([NOTE])
    assert [found.name for found in path.parent.iterdir()] == ["state.db"]


def test_closing_twice_is_harmless(state: State) -> None:
    state.close()
    state.close()


@pytest.mark.parametrize(
    "damage",
    [
        b"not a database, but long enough to be taken for one" * 100,
        b"SQLite format 3\0" + b"\xff" * 5000,
        b"short",
    ],
    ids=["other file", "broken header", "short file"],
)
def test_a_damaged_file_is_moved_aside_with_what_was_in_it(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with State.open(path) as state:
        (warning,) = state.warnings
        (aside,) = path.parent.glob("state.db.corrupt-*")
        assert str(aside) in warning
        assert "shared maps stay in force" in warning
        assert "zones and rules of lists are gone" in warning
        assert (aside.read_bytes(), state.notes(MapName.ADDR_V4)) == (damage, {})


def test_damage_in_the_middle_is_found_at_start(path: Path) -> None:
    with State.open(path) as state:
        state.put(
            Note(MapName.ADDR_V4, number.to_bytes(4, "big"), RuleAction.DROP, "cli", "", 1.0)
            for number in range(2000)
        )
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(3 * 4096))
    with State.open(path) as state:
        assert len(state.warnings) == 1


def test_the_log_of_writes_of_a_damaged_file_goes_with_it(path: Path) -> None:
    path.parent.mkdir()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        path.with_name(name).write_text(name)
    state_module._move_aside(path)
    contents = {found.read_text() for found in path.parent.glob("state.db.corrupt-*")}
    assert contents == {"state.db", "state.db-wal", "state.db-shm"}


def test_a_sound_file_has_no_warning(path: Path) -> None:
    State.open(path).close()
    with State.open(path) as state:
        assert state.warnings == ()


def test_a_damaged_file_that_cannot_be_moved_is_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"damage" * 1000)
    refuse_with(monkeypatch, "rename", PermissionError(13, "Permission denied"))
    with pytest.raises(StateError, match="cannot be moved aside: Permission denied"):
        State.open(path)


def test_a_file_of_another_owner_is_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_with(monkeypatch, "chmod", PermissionError(1, "Operation not permitted"))
    with pytest.raises(StateError, match="cannot open the state file"):
        State.open(path)


def test_a_later_versions_file_is_refused_and_left_alone(path: Path) -> None:
    State.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(
        StateError, match=f"format is {VERSION + 1}.*version of xdpctl that wrote it"
    ):
        State.open(path)
    assert [found.name for found in path.parent.iterdir()] == ["state.db"]


@pytest.mark.usefixtures("no_patience")
def test_a_file_that_another_holds_is_refused_and_left_alone(path: Path) -> None:
    State.open(path).close()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO meta VALUES ('a', 'b')")
        with pytest.raises(StateError, match="locked"):
            State.open(path)
    other.close()
    assert not list(path.parent.glob("*corrupt*"))


def test_a_directory_in_the_files_place_is_one_sentence(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StateError, match="choose another --state"):
        State.open(path)


def test_a_file_in_the_directorys_place_is_one_sentence(path: Path) -> None:
    path.parent.write_text("in the way")
    with pytest.raises(StateError, match="cannot use the directory of --state"):
        State.open(path)


def test_a_boot_has_one_id() -> None:
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36


def refuse_with(monkeypatch: pytest.MonkeyPatch, call: str, error: OSError) -> None:
    """Let a method of every path fail."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(f"pathlib.Path.{call}", fail)


# --- what others may have put there -------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_link_in_a_files_place_is_refused_and_what_it_leads_to_left(
    path: Path, tmp_path: Path, suffix: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    path.parent.mkdir()
    path.with_name(path.name + suffix).symlink_to(victim)
    with pytest.raises(StateError, match=r"state\.db.* is a link, not a regular file"):
        State.open(path)
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("secret", 0o600)


def test_a_state_file_with_a_second_name_is_refused(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch(mode=0o600)
    path.parent.mkdir()
    path.hardlink_to(victim)
    with pytest.raises(StateError, match="another name as well"):
        State.open(path)
    assert victim.stat().st_mode & 0o777 == 0o600


def test_a_state_file_that_is_exchanged_while_it_is_opened_is_not_given_a_mode(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.touch(mode=0o600)
    real = sqlite3.connect

    def late(*arguments: Any, **named: Any) -> sqlite3.Connection:  # noqa: ANN401 - passed on
        opened: sqlite3.Connection = real(*arguments, **named)
        path.rename(path.with_name("aside"))
        path.symlink_to(victim)
        return opened

    monkeypatch.setattr(sqlite3, "connect", late)
    with pytest.raises(StateError, match="is a link, not a regular file"):
        State.open(path)
    assert victim.stat().st_mode & 0o777 == 0o600


def test_a_state_directory_of_somebody_else_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> paths.Opened:
        raise paths.ForeignError("the directory /x belongs to user 65534")

    monkeypatch.setattr(state_module, "open_directory", refuse)
    with pytest.raises(StateError, match="belongs to user 65534; choose another --state"):
        State.open(path)
