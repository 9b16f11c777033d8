"""The messages between the service and the process that works for it.

Pickled objects on a pair of sockets. The service sends a job, then an answer to each `AskTurn` and
`Writing`; the process sends all the others, `Done` or `Failed` as the last. Owns the messages.
Does not own the sockets. Used by parent.py and __main__.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.abi import MapName
    from xdpctl.errors import XdpctlError
    from xdpctl.rules import AnyQtype
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change


@dataclass(frozen=True, slots=True)
class BulkJob:
    """A change of rules to apply.

    Attributes:
        maps: descriptors of the rule maps, with their numbers in the process.
        path: the state file.
        change: from `Change.to_send`; its source is a `RuleSource`.
    """

    maps: dict[MapName, int]
    path: Path
    change: Change


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Rules to be written as lines; `everything`: dnsdist's too."""

    maps: dict[MapName, int]
    path: Path
    any_qtype: AnyQtype
    everything: bool


class Answer(Enum):
    """The service's answer."""

    GO = auto()
    MOVED = auto()
    """The service has other maps than when the work began."""

    CANCEL = auto()
    """Not an answer: the work is to end at its next step."""


@dataclass(frozen=True, slots=True)
class AskTurn:
    """The process wants to write; answered by GO or MOVED."""


@dataclass(frozen=True, slots=True)
class EndTurn:
    """The process has written."""


@dataclass(frozen=True, slots=True)
class Writing:
    """Keys, end to end, that are about to be written to a map; answered by GO."""

    map: MapName
    keys: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """A map has this many more entries (less than 0: fewer)."""

    map: MapName
    difference: int


@dataclass(frozen=True, slots=True)
class ProgressMade:
    """Progress of the work: the step, done, total."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an export."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The work ended with an error."""

    error: XdpctlError


@dataclass(frozen=True, slots=True)
class Done:
    """The work is done; `found` is the list's (`RuleSource.found`)."""

    result: BulkResult
    found: object = None


Job: TypeAlias = BulkJob | ExportJob
Message: TypeAlias = AskTurn | EndTurn | Writing | Changed | ProgressMade | Part | Failed | Done
