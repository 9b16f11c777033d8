"""The messages between the service and the process that follows zones.

Pickled objects on a pair of sockets. The service sends one job. The process asks for memory of
the kernel with `Need`, which is answered by one descriptor (send_descriptors), or by `Refusal`.
All other messages are the process's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.errors import XdpctlError
    from xdpctl.rules.names import Name
    from xdpctl.transfers.client import Primary


@dataclass(frozen=True, slots=True)
class FollowedZone:
    """A zone whose names are to be followed.

    Attributes:
        name: of the zone.
        primaries: that are asked, in this order; none: only the last version is used.
        number: of the zone in the kernel's maps.
    """

    name: Name
    primaries: tuple[Primary, ...]
    number: int


@dataclass(frozen=True, slots=True)
class NamesJob:
    """The zones, the secrets of their hashes, and the folder of the last versions."""

    zones: tuple[FollowedZone, ...]
    drawn: bytes
    directory: Path


class Result(Enum):
    """How a look at a zone ended; the value is the label of the metric."""

    KEPT = "kept"
    """The last version of before was put in force."""

    FULL = "axfr"
    CHANGES = "ixfr"
    CURRENT = "current"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Need:
    """So many buckets of memory are needed for a zone's names; answered."""

    number: int
    buckets: int


class Grant(Enum):
    """The answer to `Need`; one descriptor follows a YES."""

    YES = auto()


@dataclass(frozen=True, slots=True)
class Refusal:
    """There is no memory."""

    error: XdpctlError


@dataclass(frozen=True, slots=True)
class Filled:
    """The memory that was given last for a zone is filled: it is to be put in force."""

    number: int


@dataclass(frozen=True, slots=True)
class Looked:
    """A zone was looked at, or its last version was read.

    Attributes:
        number: of the zone.
        result: how it ended.
        serial, names, everything: of the version in force; no serial: there is none.
        time: when that was verified last to be the primary's, Unix time.
        next_seconds: until the next look.
        error: why nothing is new, if something failed.
        changes: records that came or went.
    """

    number: int
    result: Result
    serial: int | None
    names: int
    everything: bool
    time: float
    next_seconds: float
    error: str = ""
    changes: int = 0


Said: TypeAlias = Need | Filled | Looked
