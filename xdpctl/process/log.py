"""Log lines: one event with fields a line, as text or JSON, on standard error.

Owns the form of a line and the set-up of `logging`; the caller decides what is
worth a line. `event` is called by everything from the state layer up,
`configure` once by the service (and again when it reloads).

    2026-11-21T03:00:00Z info attached interface=eth0 mode=native id=12

Where standard error is the journal (JOURNAL_STREAM, systemd.exec(5)), a line begins with its
level as sd-daemon(3) writes it, so that `journalctl -p warning` works. Time and level, which the
journal has then, are left out of the text form.

An exception becomes the fields `error` and `at` (file and line); its traceback
follows only at level debug, inside a field, so that a line stays a line.

Does not own the events.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import traceback
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = re.compile(r"""[^\s"'=\\]+""")
_SECRETS = frozenset({"authorization", "password", "secret", "token"})
_FIELDS = "xdpctl_fields"


class LogLevel(StrEnum):
    """`--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """The level as `logging` counts."""
        return logging.getLevelNamesMapping()[self.name]


class LogFormat(StrEnum):
    """`--log-format`."""

    TEXT = "text"
    JSON = "json"


def event(
    logger: logging.Logger, name: str, level: int = logging.INFO, /, **fields: object
) -> None:
    """Log one event.

    Args:
        logger: the calling module's.
        name: what happened, in a word or few.
        level: as `logging` counts.
        fields: in the order in which they are shown; None is left out.
    """
    logger.log(level, "%s", name, extra={_FIELDS: fields})


def configure(
    level: LogLevel, form: LogFormat, stream: TextIO, environ: Mapping[str, str] = os.environ
) -> None:
    """Send everything that is logged in this process to `stream`, in place of earlier set-ups.

    Args:
        level: of the least important lines that are written.
        form: of a line.
        stream: standard error.
        environ: has JOURNAL_STREAM if the service manager connected a stream to the journal.
    """
    handler = _Handler(stream)
    journal = is_journal(stream, environ)
    formatter = JsonFormatter if form is LogFormat.JSON else TextFormatter
    handler.setFormatter(formatter(journal=journal))
    root = logging.getLogger()
    for earlier in root.handlers[:]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.number)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether a stream leads to the journal: JOURNAL_STREAM is its device and inode."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _Handler(logging.StreamHandler[TextIO]):
    """Drops a line that cannot be written: the filter must not stop because of its log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Do nothing: errors would go to standard error, which has just failed."""


class TextFormatter(logging.Formatter):
    """`TIME LEVEL EVENT KEY=VALUE…`; a value with a blank or quote is quoted as in JSON.

    Args:
        journal: the lines go to the journal: `<N>EVENT KEY=VALUE…`.
    """

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        head = _priority(record)
        if not self._journal:
            head = f"{_time(record)} {record.levelname.lower()} "
        parts = [_one_line(_name(record))]
        parts += [f"{key}={_text(value)}" for key, value in _fields(record)]
        return head + " ".join(parts)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, event, and the fields beside them.

    Args:
        journal: the lines go to the journal, and begin with their level.
    """

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        head = {"time": _time(record), "level": record.levelname.lower(), "event": _name(record)}
        fields = {key: _plain(value) for key, value in _fields(record) if key not in head}
        return (_priority(record) if self._journal else "") + json.dumps(head | fields)


def _priority(record: logging.LogRecord) -> str:
    """Return the level as the journal reads it at the start of a line: syslog(3) in brackets."""
    syslog = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return f"<{next((number for level, number in syslog if record.levelno >= level), 7)}>"


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))


def _name(record: logging.LogRecord) -> str:
    return record.getMessage()


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Yield what is shown behind the event, secrets covered."""
    fields = getattr(record, _FIELDS, None)
    if fields is None:  # a library's own line
        yield "logger", record.name
    for key, value in (fields or {}).items():
        if value is not None:
            yield key, "[hidden]" if key in _SECRETS else value
    if record.exc_info and (error := record.exc_info[1]):
        yield "error", f"{type(error).__name__}: {error}"
        if frames := traceback.extract_tb(error.__traceback__):
            yield "at", f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            yield "traceback", "".join(traceback.format_exception(error))


def _plain(value: object) -> object:
    """Return a value as JSON can represent it."""
    match value:
        case bool() | int() | float() | None:
            return value
        case str():
            return str(value)
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case Iterable() if not hasattr(value, "__fspath__") and not hasattr(value, "prefixlen"):
            return [_plain(inner) for inner in value]
        case _:
            return str(value)


def _text(value: object) -> str:
    """Return a value for the text form."""
    plain = _plain(value)
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, list):
        plain = ",".join(str(inner) for inner in plain)
    elif isinstance(plain, dict):
        plain = json.dumps(plain)
    text = str(plain)
    if _PLAIN.fullmatch(text) and text.isprintable():
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]
