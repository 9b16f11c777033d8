"""The parameters of each request: what is accepted behind the `?`.

As in documents.py, the types that check are those that describe. A parameter that is not known,
comes twice or makes no sense is refused by its name (422); a missing one is a bad request (400).
Called by the handlers. Owns the parameters. Does not own the documents in bodies (documents.py).
"""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec

from xdpctl.abi import RULE_PLACES, MapName, PacketAction, Reason
from xdpctl.errors import TargetError
from xdpctl.http.api.documents import ORIGIN_SCHEMA, TEXT_MAX
from xdpctl.http.api.publish_documents import TargetText, ZoneText  # noqa: TC001 - msgspec needs them
from xdpctl.http.refusals import RequestError
from xdpctl.rules import Question, Zone, parse_qtype, parse_target
from xdpctl.rules.names import shown
from xdpctl.rules.rules import ORIGIN_KINDS
from xdpctl.samples.selection import Selection
from xdpctl.samples.talkers import By
from xdpctl.settings import ListFormat

if TYPE_CHECKING:
    from aiohttp import web

    from xdpctl.samples.selection import Source

_Query = TypeVar("_Query", bound=msgspec.Struct)

PAGE_MAX = 10_000
"""Rules of a page, also where no limit is asked for: the loop writes it as JSON."""

TOP_MAX = 1_000

HISTORY_MAX = 10_000
"""Changes that the service keeps."""

SECONDS_MAX = 60
"""Seconds of samples that are summed up."""

PORT_MAX = 65_535

USUAL = (By.SOURCE, By.SOURCE24, By.SOURCE64, By.NAME, By.ZONE2, By.TYPE, By.ACTION)
"""What samples are summed by where nothing is said."""

ALL_OWN = "*"
"""Every origin except dnsdist's, in requests that remove rules."""

_MAPS = ", ".join(RULE_PLACES)

RuleMap = Annotated[
    Literal[
        "",
        "addr-v4",
        "addr-v6",
        "cidr4",
        "cidr6",
        "qnames",
        "zones",
        "list-sources",
        "list-names",
    ],
    msgspec.Meta(description=f"one of {_MAPS}; empty: all of them"),
]
Origin = Annotated[
    str,
    msgspec.Meta(
        max_length=TEXT_MAX,
        description=f"{ORIGIN_KINDS}, dynamic, dnsdist-dynamic or dnsdist; empty: every origin",
        examples=["api"],
    ),
]
OwnOrigin = Annotated[
    str,
    msgspec.Meta(
        max_length=TEXT_MAX,
        description=f"whose list it is: {ORIGIN_KINDS}",
        extra_json_schema=ORIGIN_SCHEMA,
        examples=["list:example"],
    ),
]


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


class PageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which rules are listed."""

    map: RuleMap = ""
    origin: Origin = ""
    target: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="only rules for exactly this address, prefix, name or zone; without"
            " pages, and without the other parameters but qtype and contains",
            examples=["192.0.2.1"],
        ),
    ] = ""
    qtype: Annotated[
        str, msgspec.Meta(max_length=TEXT_MAX, description="type of the target, which is a name")
    ] = ""
    contains: Annotated[
        bool, msgspec.Meta(description="1 adds the rules for what contains the target")
    ] = False
    limit: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=PAGE_MAX, description=f"rules of a page, a number from 1 to {PAGE_MAX}"
        ),
    ] = PAGE_MAX
    cursor: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX, description="`next` of the page before; empty: the first page"
        ),
    ] = ""
    all_claims: Annotated[
        bool,
        msgspec.Meta(
            description="1, with origin: also rules on which that origin has a claim that waits"
        ),
    ] = False


class OriginsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which rules are counted."""

    map: RuleMap = ""


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which changes are listed."""

    target: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="only changes of rules for exactly this target, of any type; empty: all",
            examples=["192.0.2.1"],
        ),
    ] = ""
    since: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="only the last so long: 30s, 10m, 1h30m, 7d, 2w; empty: all",
            examples=["1h"],
        ),
    ] = ""
    limit: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=HISTORY_MAX, description=f"changes at most, a number from 1 to {HISTORY_MAX}"
        ),
    ] = HISTORY_MAX


class TestQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The query that is tested."""

    address: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX, description="the source's address", examples=["192.0.2.1"]
        ),
    ]
    name: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="the name that is asked for; empty: one that no rule should match",
            examples=["www.example"],
        ),
    ] = ""
    qtype: Annotated[
        str, msgspec.Meta(max_length=TEXT_MAX, description="the type that is asked for; empty: A")
    ] = ""
    interface: Annotated[
        str, msgspec.Meta(max_length=TEXT_MAX, description="on which interface; empty: the first")
    ] = ""


class TopQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which rules are ranked, and how."""

    n: Annotated[
        int,
        msgspec.Meta(ge=1, le=TOP_MAX, description=f"rules at most, a number from 1 to {TOP_MAX}"),
    ] = 10
    map: RuleMap = ""
    by: Annotated[
        Literal["rate", "hits"],
        msgspec.Meta(
            description="rate (hits in one second from now) or hits (since the rule was made)"
        ),
    ] = "rate"


class _Filters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which sampled packets are wanted, and what they are summed by."""

    source: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="only packets of this address or prefix; empty: of any",
            examples=["192.0.2.0/24"],
        ),
    ] = ""
    name: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="only queries for this name, or for names of this zone (`.evil.example`)",
            examples=[".evil.example"],
        ),
    ] = ""
    qtype: Annotated[
        str, msgspec.Meta(max_length=TEXT_MAX, description="only queries of this type")
    ] = ""
    action: Annotated[
        Literal["", "pass", "drop", "truncate", "redirect"],
        msgspec.Meta(description="only packets with which this was done; empty: any"),
    ] = ""
    reason: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="only packets with this reason, as the metrics have it: addr-v4, limit …",
        ),
    ] = ""
    port: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=PORT_MAX, description="only packets to this port, up to 65535; 0: to any"
        ),
    ] = 0
    interface: Annotated[
        str,
        msgspec.Meta(max_length=TEXT_MAX, description="only packets of this interface; empty: all"),
    ] = ""
    by: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="what is summed up, separated by commas, of: " + ", ".join(By),
            examples=["source24,name"],
        ),
    ] = ",".join(USUAL)
    n: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=TOP_MAX, description=f"keys of each at most, a number from 1 to {TOP_MAX}"
        ),
    ] = 20

    @property
    def dimensions(self) -> list[By]:
        """What is summed up.

        Raises:
            TargetError: there is no such dimension.
        """
        found = []
        for word in filter(None, self.by.split(",")):
            try:
                found.append(By(word))
            except ValueError as error:
                raise TargetError(
                    f"cannot sum up by {shown(word)}: choose of {', '.join(By)}",
                    text=word,
                    field="by",
                ) from error
        return found

    def selection(self, kept: tuple[int, int]) -> Selection:
        """Return which samples are wanted.

        Args:
            kept: bits of an IPv4 and an IPv6 address that samples have.

        Raises:
            TargetError: a filter cannot be read, or no sample can be what it asks for.
        """
        source = parse_target(self.source) if self.source else None
        if isinstance(source, Question | Zone):
            raise TargetError(
                f"cannot look for the source {shown(self.source)}: it is an address or a prefix,"
                " and name= is for names",
                text=self.source,
                field="source",
            )
        if source is not None:
            _refuse_longer(source, kept)
        name = parse_target(self.name) if self.name else None
        if name is not None and not isinstance(name, Question | Zone):
            raise TargetError(
                f"cannot look for the name {shown(self.name)}: it is an address, and source= is for"
                " addresses",
                text=self.name,
                field="name",
            )
        return Selection(
            source,
            name,
            parse_qtype(self.qtype) if self.qtype else None,
            PacketAction[self.action.upper()] if self.action else None,
            _reason_named(self.reason),
            self.port or None,
            self.interface or None,
        )


def _refuse_longer(source: Source, kept: tuple[int, int]) -> None:
    """Raise TargetError for a source of more bits than samples have: none would be found, ever."""
    network = ip_network(source)
    most = kept[0] if network.version == 4 else kept[1]  # noqa: PLR2004 - IPv4
    if network.prefixlen > most:
        raise TargetError(
            f"cannot look for the source {source}: sample-addresses keeps {most} bits of such an"
            f" address; look for {network.supernet(new_prefix=most)}",
            text=str(source),
            field="source",
        )


class LiveQuery(_Filters):
    """What is streamed, and of which packets."""

    samples: Annotated[
        Literal["0", "1", "all"],
        msgspec.Meta(
            description="1: also an event `talkers` a second; all: and an event `sample` for each"
            " sampled packet"
        ),
    ] = "0"
    snapshots: Annotated[
        bool, msgspec.Meta(description="0: no snapshots, where only samples are wanted")
    ] = True
    frames: Annotated[
        bool, msgspec.Meta(description="1, with samples=all: also the octets of each packet")
    ] = False
    seconds: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=SECONDS_MAX,
            description=f"how long a packet counts, a number from 1 to {SECONDS_MAX}",
        ),
    ] = 5


class SamplesQuery(_Filters):
    """Which packets are summed up, and for how long."""

    seconds: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=SECONDS_MAX,
            description=f"for how long, a number from 1 to {SECONDS_MAX}; the answer takes it",
        ),
    ] = 5


class PostQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How rules are made."""

    force: Annotated[
        bool,
        msgspec.Meta(
            description="1 overrides the guard of short prefixes, top-level domains, own addresses"
        ),
    ] = False
    waiting_ok: Annotated[
        bool,
        msgspec.Meta(
            description="1: where dnsdist has an entry, the rule waits until that is gone; without"
            " it, the request is refused (409)"
        ),
    ] = False


class DeleteQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which rules are removed: by target, or a whole origin's."""

    target: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=TEXT_MAX, examples=["192.0.2.1"])]],
        msgspec.Meta(description="an address, prefix, name or zone; repeatable, all or none go"),
    ] = []
    qtype: Annotated[
        str, msgspec.Meta(max_length=TEXT_MAX, description="type of the targets, which are names")
    ] = ""
    origin: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="whose rules all go; `*`: all but dnsdist's. dnsdist's own are removed only"
            " with `dnsdist`, and a running dnsdist does not notice",
        ),
    ] = ""
    map: Annotated[RuleMap, msgspec.Meta(description="with origin: only in this map")] = ""
    force: Annotated[
        bool,
        msgspec.Meta(
            description="1, with target: also removes an entry of dnsdist's, which a running"
            " dnsdist does not notice"
        ),
    ] = False
    claimant: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="with target: whose claim on it ends; empty: those of the operator (cli,"
            " api and file:NAME)",
            examples=["app:jail"],
        ),
    ] = ""


class ProveQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which sources count as proven."""

    address: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=TEXT_MAX, examples=["192.0.2.1"])]],
        msgspec.Meta(description="the address of a source; repeatable"),
    ] = []


class ResizeQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which map gets more room."""

    map: Annotated[
        Literal["addr-v4", "addr-v6", "cidr4", "cidr6", "qnames"],
        msgspec.Meta(description="a map that is shared with dnsdist"),
    ]
    entries: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=2**31, description="its new capacity, larger than now, at most 2147483648"
        ),
    ]
    force: Annotated[
        bool,
        msgspec.Meta(description="1: also where it cannot be seen which processes use the map"),
    ] = False


class PutQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Whose list is sent."""

    origin: OwnOrigin


class ImportQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Whose list is sent, and whether it is all of it."""

    origin: OwnOrigin
    replace: Annotated[
        bool, msgspec.Meta(description="1 removes what of the origin is not in the list")
    ] = False
    yes: Annotated[
        bool,
        msgspec.Meta(description="with replace: 1 also takes a list without a rule"),
    ] = False
    format: Annotated[
        Literal[
            "auto",
            "targets",
            "cidr",
            "hosts",
            "rpz",
            "adblock",
            "dnsmasq",
            "unbound",
            "first-column",
            "json",
        ],
        msgspec.Meta(description=f"one of {', '.join(ListFormat)}: the list's"),
    ] = "auto"
    action: Annotated[
        Literal["", "drop", "truncate", "pass"],
        msgspec.Meta(
            description="drop, truncate or pass: of every rule, lines with another one are left"
            " out; empty: the lines' own, else drop"
        ),
    ] = ""
    denial: Annotated[
        Literal["drop", "truncate", "skip"],
        msgspec.Meta(
            description="drop, truncate or skip: what stands for NXDOMAIN and NODATA of an RPZ zone"
        ),
    ] = "drop"


class ListQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which list is read."""

    name: Annotated[
        str,
        msgspec.Meta(
            max_length=TEXT_MAX,
            description="the name of a [[list]], with or without `list:`",
            examples=["blocked.txt"],
        ),
    ]


class PublishQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Whether the guard is overridden."""

    force: Annotated[
        bool,
        msgspec.Meta(description="1: also what the guard holds back (a short prefix, `protect`)"),
    ] = False


class UnpublishQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What is removed from a zone."""

    zone: ZoneText
    target: Annotated[
        list[TargetText], msgspec.Meta(description="what was published; repeatable")
    ] = []


class ExportQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What is written out."""

    all: Annotated[bool, msgspec.Meta(description="1 adds dnsdist's entries")] = False


def read_query(request: web.Request, kind: type[_Query]) -> _Query:
    """Return the parameters of a request.

    Raises:
        TargetError: a parameter is unknown, given twice, or makes no sense (422).
        RequestError: a parameter is missing (400).
    """
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    given: dict[str, str | list[str]] = {}
    for name in request.query:
        if name not in fields:
            known = ", ".join(fields) or "none at all"
            raise TargetError(
                f"there is no parameter {shown(name)} here: {known}", text=name, field=name
            )
        texts = request.query.getall(name)
        if not all(map(_is_text, texts)):
            raise TargetError(
                f"the parameter {name} is not valid UTF-8: percent-encode it as UTF-8",
                text="",
                field=name,
            )
        is_list = fields[name].default_factory is not msgspec.NODEFAULT
        if len(texts) > 1 and not is_list:
            raise TargetError(
                f"the parameter {name} is given twice: send it once", text=texts[1], field=name
            )
        given[name] = texts if is_list else texts[0]
    for name, field in fields.items():
        if field.required and not given.get(name):
            raise RequestError(
                HTTPStatus.BAD_REQUEST,
                f"the parameter {name} is missing: {_meaning(kind, name)}",
                field=name,
            )
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`").partition("[")[0]
        text = request.query[name]
        raise TargetError(
            f"cannot take {shown(text)} as {name}: {_meaning(kind, name)}",
            text=text,
            field=name,
        ) from error


def _is_text(text: str) -> bool:
    """Return whether a text has no lone surrogate, which represents an invalid octet."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def properties_of(kind: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each parameter, by name."""
    _, components = msgspec.json.schema_components([kind])
    found: dict[str, dict[str, Any]] = components[kind.__name__]["properties"]
    return found


def _meaning(kind: type[msgspec.Struct], name: str) -> str:
    """Return what a parameter is, as the end of a sentence."""
    return f"it is {properties_of(kind)[name].get('description', name)}"


def _reason_named(label: str) -> Reason | None:
    """Return the reason with this label, or None for an empty one.

    Raises:
        TargetError: there is none.
    """
    if not label:
        return None
    for reason in Reason:
        if reason.label == label:
            return reason
    raise TargetError(
        f"cannot look for the reason {shown(label)}: choose of"
        f" {', '.join(reason.label for reason in Reason)}",
        text=label,
        field="reason",
    )


def map_named(text: str) -> MapName | None:
    """Return the map that a checked parameter names."""
    return MapName(text) if text else None
