"""The API's documents: what is accepted and what is answered.

msgspec checks a request against these types and names the field that is wrong; the same types
describe the API to others. Text becomes a value here: a `RuleIn` turns into a rules.Rule or raises
the error of rules/rules.py. Answers are made of values by converter.py. Owns the types of all
documents. Does not own rules (rules/) or the form of errors (http/problems.py). Used by the rest
of http/api/ and by service/operations.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from xdpctl.rules import (
    ACTIONS,
    Rule,
    parse_reason,
    parse_target,
)
from xdpctl.rules.rules import DURATION_MAX, ORIGIN_PATTERN, own_origin

TEXT_MAX = 2_000
ORIGIN_SCHEMA = {"pattern": f"^(?:{ORIGIN_PATTERN})$"}
"""Of an origin's text, for those who read the schema; rules.parse_origin checks."""

API_ORIGIN = "api"
"""Of a rule that is sent without one."""

Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]


class RuleIn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A rule as a client gives it.

    `hits`, `created`, `map` and `wildcard` are taken and not used, so that a listed rule
    can be sent back as it is.
    """

    target: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="an address, a prefix, a name (`evil.example`), a name and every name"
            " below it (`.evil.example`), or only the names below it (`*.evil.example`)",
            examples=["192.0.2.1", "2001:db8::/32", "dropped.example.", ".evil.example"],
        ),
    ]
    qtype: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=TEXT_MAX,
                description="the query type of a name or zone: A, TYPE65, 65; null or empty:"
                " every type",
                examples=["AAAA"],
            ),
        ]
        | None
    ) = None
    action: Literal["drop", "truncate", "pass"] = "drop"
    expires_in: (
        Annotated[
            int,
            msgspec.Meta(
                ge=1, le=DURATION_MAX, description="seconds until it goes; null: it stays"
            ),
        ]
        | None
    ) = None
    reason: Annotated[
        str, msgspec.Meta(max_length=TEXT_MAX, description="one line, at most 200 characters")
    ] = ""
    origin: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=TEXT_MAX,
                description="cli, api, file:NAME or list:NAME; null: api, in a PUT its origin",
                extra_json_schema=ORIGIN_SCHEMA,
                examples=["api"],
            ),
        ]
        | None
    ) = None
    hits: int | None = None
    created: float | None = None
    map: str | None = None
    wildcard: int | None = None

    def rule(self) -> Rule:
        """Return the rule.

        Raises:
            TargetError: a field's text is not valid; the error names the field.
        """
        return Rule(
            parse_target(self.target, self.qtype),
            ACTIONS[self.action],
            parse_reason(self.reason),
            own_origin(API_ORIGIN if self.origin is None else self.origin),
            expires_in=self.expires_in,
        )


class RuleOut(msgspec.Struct):
    """A rule as it is listed.

    `qtype` is null for the wildcard; `wildcard` is then the number that it is written
    as (65535, or 255 up to dnsdist 1.9). `map` is zones for a zone, and list-sources or
    list-names for what lists block. `created` is in seconds since the epoch, null
    where dnsdist wrote the entry. `expires_in` is in seconds.
    """

    target: str
    qtype: str | None
    action: str
    hits: int
    origin: str
    reason: str
    expires_in: int | None
    created: float | None
    map: str
    wildcard: int | None


class Rules(msgspec.Struct):
    """A page of rules; `next` is the cursor of the page behind it, or null."""

    rules: list[RuleOut]
    next: str | None


class TopRule(RuleOut):
    """A rule that is hit much; `rate` in hits a second, null where it was not measured."""

    rate: float | None = None


class Top(msgspec.Struct):
    """The rules hit most, the first the most."""

    rules: list[TopRule]


class Put(msgspec.Struct):
    """What a POST of rules did."""

    created: int
    updated: int
    warnings: list[str]


class Merged(msgspec.Struct):
    """What a list did to an origin's rules, in entries.

    `left_to_dnsdist` and `left_to_others` have an entry of dnsdist's or of another origin
    already, which stays as it is; `skipped` are rules of the list whose origin is dnsdist,
    `guarded` those that the guard left out: local or protected addresses, short prefixes,
    protected names, top-level domains.
    """

    created: int
    updated: int
    removed: int
    unchanged: int
    left_to_dnsdist: int
    left_to_others: int
    skipped: int
    guarded: int


class Progress(msgspec.Struct):
    """How far an import is: `what` is "read" (in bytes) and then "apply" (in entries)."""

    what: str
    done: int
    total: int


class Removed(msgspec.Struct):
    """What a DELETE of rules did."""

    removed: int
    warnings: list[str] = []


class Resized(msgspec.Struct):
    """A map that has more room now, and how many entries were kept."""

    map: str
    capacity: int
    entries: int


class Panic(msgspec.Struct):
    """Whether everything is passed."""

    panic: bool


class DetachIn(msgspec.Struct, forbid_unknown_fields=True):
    """Interfaces to take the program off; empty: all."""

    interfaces: list[Text] = []


class Detached(msgspec.Struct):
    """Interfaces from which the program was detached."""

    detached: list[str]


class Counter(msgspec.Struct):
    """Packets and bytes of one reason and action."""

    reason: str
    action: str
    packets: int
    bytes: int


class InterfaceOut(msgspec.Struct):
    """One interface and the filter on it."""

    name: str
    index: int | None
    state: str
    mode: str | None
    program_id: int | None
    tag: str | None
    reattached: int
    queues: int | None
    xskmap: str | None
    counters: list[Counter]


class MapOut(msgspec.Struct):
    """One pinned map and its fill; `frozen`: its entries cannot be changed any more."""

    name: str
    path: str
    id: int
    entries: int | None
    capacity: int
    frozen: bool = False


class Destination(msgspec.Struct):
    """An address and port that goes to AF_XDP."""

    address: str
    port: int


class Status(msgspec.Struct):
    """The whole service at a glance."""

    version: str
    pid: int
    ready: bool
    reasons: list[str]
    panic: bool
    started: float
    interfaces: list[InterfaceOut]
    maps: list[MapOut]
    destinations: list[Destination]
    warnings: list[str]
