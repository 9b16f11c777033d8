"""The messages between the service and the process that works for it.

Pickled objects on a pair of sockets. The service sends a job, then an answer to each
`AskTurn`, `Reserve` and `Writing`; the process sends all the others, `Done` or `Failed` as the
last. The descriptors of our own tables go over the same sockets, behind a `Lent`.
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
        maps: descriptors of the shared rule maps, as they are numbered in the process.
        path: the state file.
        free: see `bulk.Bulk`.
        change: from `Change.to_send`; its source is a `RuleSource`.
    """

    maps: dict[MapName, int]
    path: Path
    change: Change
    free: dict[MapName, int]


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
class Lent:
    """Before GO: our own tables are these from now on.

    Attributes:
        counts: how many descriptors each generation has; the descriptors follow, those of
            the generation that is read first.
    """

    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no room for what was to be reserved."""

    error: XdpctlError


@dataclass(frozen=True, slots=True)
class AskTurn:
    """The process wants to write; answered by GO or MOVED, perhaps with `Lent` before."""


@dataclass(frozen=True, slots=True)
class EndTurn:
    """It has written; `whole`: what it began to write is all there."""

    whole: bool = True


@dataclass(frozen=True, slots=True)
class Reserve:
    """So many entries more are to have room in our own tables; answered by GO or `Refused`."""

    more: dict[MapName, int]


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
class Stepped:
    """A step is done; what was done so far."""

    result: BulkResult


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an export."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The work ended with an error; `result`: what a change had done before."""

    error: XdpctlError
    result: BulkResult | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The work is done; `found` is the list's (`RuleSource.found`)."""

    result: BulkResult
    found: object = None


Job: TypeAlias = BulkJob | ExportJob
Message: TypeAlias = (
    AskTurn | EndTurn | Reserve | Writing | Changed | ProgressMade | Stepped | Part | Failed | Done
)
Reply: TypeAlias = Answer | Lent | Refused
