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

from xdpctl.http.api.limit_documents import ActingOut, HeavyOut  # noqa: TC001 - msgspec reads them
from xdpctl.rules import (
    ACTIONS,
    Rule,
    parse_reason,
    parse_target,
)
from xdpctl.rules.rules import DURATION_MAX, ORIGIN_KINDS, ORIGIN_PATTERN, own_origin

TEXT_MAX = 2_000
ORIGIN_SCHEMA = {"pattern": f"^(?:{ORIGIN_PATTERN})$"}
"""Of an origin's text, for those who read the schema; rules.parse_origin checks."""

API_ORIGIN = "api"
"""Of a rule that is sent without one."""

Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]


class Whole(int):
    """An integer as JSON Schema means it: 600 and 600.0 alike, as Lua and others write it."""


class Seconds(Whole):
    """A whole number of seconds until a rule expires."""


Unused = Annotated[Whole, msgspec.Meta(extra_json_schema={"type": "integer"})]
"""A number that is checked and then not used."""

ENUMS = {"action": tuple(ACTIONS)}
"""The values of the fields that take one of some words; for errors, which list them."""


def whole(kind: type, value: object) -> Whole:
    """Return a decoded number as `kind`; the `dec_hook` of every decoder of a request.

    Raises:
        ValueError: it is not a whole number, or out of range; msgspec adds the field.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {_shown(value)}")  # noqa: TRY004 - msgspec
    if issubclass(kind, Seconds) and not 1 <= value <= DURATION_MAX:
        raise ValueError(f"expected a whole number from 1 to {DURATION_MAX}, got {_shown(value)}")
    return kind(value) if issubclass(kind, Whole) else Whole(value)


def _shown(value: object) -> str:
    """Return a JSON value in few characters."""
    text = msgspec.json.encode(value).decode()
    return f"{text[:40]}…" if len(text) > 40 else text  # noqa: PLR2004 - one line


class ClaimOut(msgspec.Struct):
    """What one origin says about a target.

    `class` is dnsdist, operator (cli, api, file:NAME), program (app:NAME), dynamic or list; one
    of an earlier class is in force before one of a later. `expires_in` is in seconds.
    """

    origin: str
    claim_class: str = msgspec.field(name="class")
    action: str
    reason: str
    expires_in: int | None
    in_force: bool


class RuleIn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A rule as a client gives it.

    `hits`, `created`, `map`, `wildcard` and `claims` are taken and not used, so that a listed
    rule can be sent back as it is. Where the origin has a rule for the target already, a reason or
    an end that is not given stays as it was.
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
    action: Literal["drop", "truncate", "pass"] = "drop"  # ENUMS
    expires_in: (
        Annotated[
            Seconds,
            msgspec.Meta(
                description="seconds until the rule expires; null: it stays for ever; left out: as"
                " it was, and a new rule stays for ever",
                extra_json_schema={"type": "integer", "minimum": 1, "maximum": DURATION_MAX},
            ),
        ]
        | msgspec.UnsetType
        | None
    ) = msgspec.UNSET
    reason: (
        Annotated[
            str, msgspec.Meta(max_length=TEXT_MAX, description="one line, at most 200 characters")
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    origin: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=TEXT_MAX,
                description=f"{ORIGIN_KINDS}; null: api, in a PUT its origin",
                extra_json_schema=ORIGIN_SCHEMA,
                examples=["api"],
            ),
        ]
        | None
    ) = None
    hits: Unused | None = None
    created: float | None = None
    map: str | None = None
    wildcard: Unused | None = None
    claims: list[ClaimOut] | None = None

    @property
    def end(self) -> int | None:
        """Seconds until it goes; None: it stays, or nothing is said about it."""
        return None if self.expires_in is msgspec.UNSET else self.expires_in

    @property
    def note(self) -> str:
        """The reason; empty where nothing is said."""
        return "" if self.reason is msgspec.UNSET else self.reason

    def rule(self) -> Rule:
        """Return the rule.

        Raises:
            TargetError: a field's text is not valid; the error names the field.
        """
        return Rule(
            parse_target(self.target, self.qtype),
            ACTIONS[self.action],
            parse_reason(self.note),
            own_origin(API_ORIGIN if self.origin is None else self.origin),
            expires_in=self.end,
            keeps_reason=self.reason is msgspec.UNSET,
            keeps_end=self.expires_in is msgspec.UNSET,
        )


class RuleOut(msgspec.Struct):
    """A rule as it is listed.

    `qtype` is null for the wildcard; `wildcard` is then the number that it is written
    as (65535, or 255 up to dnsdist 1.9). `map` is zones for a zone, and list-sources or
    list-names for what lists block. `created` is in seconds since the epoch, null
    where dnsdist wrote the entry. `expires_in` is in seconds. `claims` are those of every origin
    on the target, the one in force first.
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
    claims: list[ClaimOut]


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


class Made(msgspec.Struct):
    """What came of one rule of a POST.

    `was` is what its origin said about the target before, null if nothing; `claim` what it says
    now. `in_force` is the claim that is in force on the target instead, `displaced` that of
    another origin that was until now; both are null as a rule.
    """

    target: str
    qtype: str | None
    was: ClaimOut | None
    claim: ClaimOut
    in_force: ClaimOut | None
    displaced: ClaimOut | None


class Put(msgspec.Struct, omit_defaults=True):
    """What a POST of rules did; `rules` has each rule where there are at most 1,000."""

    created: int
    updated: int
    warnings: list[str]
    rules: list[Made] = []


class Merged(msgspec.Struct):
    """What a list did to an origin's rules, in entries.

    `left_to_dnsdist` and `left_to_others` are claims that wait, because an entry of dnsdist's or a
    claim of another origin is in force; `waiting` is their sum. `skipped` are rules of the list
    whose origin is dnsdist, `guarded` those that the guard left out: local or protected addresses,
    short prefixes, protected names, top-level domains. `ends_removed` are rules that had an end
    and have none now.
    """

    created: int
    updated: int
    removed: int
    unchanged: int
    left_to_dnsdist: int
    left_to_others: int
    skipped: int
    guarded: int
    waiting: int
    ends_removed: int


class Imported(Merged):
    """What an import did.

    `format` is the one that the list was read in, null if it has no line; `left_out` says how
    many of its entries are no rule or could not be read, `warnings` which.
    """

    left_out: int = 0
    format: str | None = None
    warnings: list[str] = []


class ListOut(msgspec.Struct, omit_defaults=True):
    """One `[[list]]`.

    `format`, `rules`, `left_out` and `left_out_kinds` (how many of each kind) are of the last good
    version, of which `last_success` says when it was used; `next` is when the list is looked at
    next. Both are in seconds since the epoch. `rules` and `last_success` are null if no version
    has been used yet. `serial` is that of a zone, null for a file. `error` says why the present
    version is not used, else null. A list is a `file` or a `zone`; of a zone, `contact` says when a
    primary last confirmed it.
    """

    name: str
    file: str | None
    format: str
    rules: int | None
    left_out: int
    last_success: float | None
    next: float
    serial: int | None
    error: str | None
    left_out_kinds: dict[str, int] = {}
    zone: str | None = None
    contact: float | None = None


class Lists(msgspec.Struct):
    """The lists, in the order of the settings."""

    lists: list[ListOut]


class Progress(msgspec.Struct):
    """How far an import is: `what` is "read" (in bytes) and then "apply" (in entries)."""

    what: str
    done: int
    total: int


class Left(msgspec.Struct):
    """A target from which a rule was removed, and who still has a claim on it."""

    target: str
    qtype: str | None
    claims: list[ClaimOut]


class Removed(msgspec.Struct, omit_defaults=True):
    """What a DELETE of rules did; `left`: who still has a claim on its targets."""

    removed: int
    warnings: list[str]
    left: list[Left] = []


class PacketOut(msgspec.Struct):
    """The query of a test."""

    source: str
    destination: str
    port: int
    name: str
    qtype: str


class Tested(msgspec.Struct):
    """What the program decides about a query, and which rule it is.

    `verdict` is pass, drop, truncate or redirect, `reason` the label of the metrics. The rule
    is null where none decided: `target`, `qtype` (null for the wildcard), `origin`, `book`
    (operator or lists), `action`, `note` (its reason), `expires_in`, `hits`. `limit` is the
    limit that decided, or null. While `panic` is on, the rule and `without_panic` say what
    would be decided without it. `attached` is false where the program is not on the interface.
    """

    verdict: str
    reason: str
    target: str | None
    qtype: str | None
    origin: str | None
    book: str | None
    limit: str | None
    action: str | None
    note: str | None
    expires_in: int | None
    hits: int | None
    panic: bool
    without_panic: str
    interface: str
    attached: bool
    packet: PacketOut


class Resized(msgspec.Struct):
    """A map that has more room now, and how many entries were kept."""

    map: str
    capacity: int
    entries: int


class Panic(msgspec.Struct):
    """Whether everything is passed, and whether that is new."""

    panic: bool
    changed: bool


class DetachIn(msgspec.Struct, forbid_unknown_fields=True):
    """Interfaces to take the program off, or to attach it to again; empty: all."""

    interfaces: list[Text] = []


class Detached(msgspec.Struct):
    """Interfaces from which the program was detached."""

    detached: list[str]


class Reattached(msgspec.Struct):
    """Interfaces to which the program was attached again."""

    attached: list[str]


class OriginOut(msgspec.Struct):
    """How many rules of our own an origin has."""

    origin: str
    rules: int


class Origins(msgspec.Struct):
    """The origins of our own rules, the one with the most rules first."""

    origins: list[OriginOut]


class Who(msgspec.Struct):
    """Who asked for a change; all null: the service itself (expiry, a list).

    `command` is the name of the process's program, `token` the name of the token's file.
    """

    uid: int | None
    pid: int | None
    command: str | None
    token: str | None
    address: str | None


class ChangeOut(msgspec.Struct):
    """A change. `target` is null for a change of many rules; `count` says how many.

    `hits` says how often what was removed had been hit, null where nobody knows or nothing
    was removed. `time` is in seconds since the epoch.
    """

    time: float
    who: Who
    verb: str
    target: str | None
    qtype: str | None
    action: str | None
    origin: str | None
    count: int
    hits: int | None
    reason: str | None
    detail: str | None


class HistoryOut(msgspec.Struct):
    """The last changes, the oldest first."""

    changes: list[ChangeOut]


class Counter(msgspec.Struct):
    """Packets and bytes of one reason and action; `rate` in packets a second, or null."""

    reason: str
    action: str
    packets: int
    bytes: int
    rate: float | None = None


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


class DnsdistOut(msgspec.Struct):
    """A dnsdist whose dynamic blocks are read (`[[dnsdist]]`).

    `blocks` are those of the last list, `claimed` those of them that the filter has;
    `last_success` is when it was read, in seconds since the epoch.
    """

    url: str
    up: bool
    blocks: int
    claimed: int
    last_success: float | None = None


class Status(msgspec.Struct):
    """The whole service at a glance.

    `limits` are those that act now; `heavy` are zones that are asked for much; `unseen` are
    sentences about what of this host cannot be seen from the service, in a container. `held` are
    claims whose block dnsdist has ended, though the flood goes on.
    """

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
    limits: list[ActingOut] = []
    heavy: list[HeavyOut] = []
    unseen: list[str] = []
    dnsdists: list[DnsdistOut] = []
    held: int = 0
