"""`resize`: gives a shared map more room, with its entries kept.

A process that has the map open would go on with the former one, so this verb looks for such
processes first: as root it sees more of them than the service. Owns the sentences. Does not own
the exchange of the map (service/pin_repair.py). Called by cli/main.py.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import ConflictError

if TYPE_CHECKING:
    from typing import Any

    from xdpctl.abi import MapName
    from xdpctl.cli.client import Client


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sizes",
        metavar="MAP=N",
        nargs="+",
        type=_size,
        help="map and its new number of entries, such as qnames=100000",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="also where it cannot be seen which processes use the map",
    )


def _size(text: str) -> tuple[MapName, int]:
    from xdpctl.abi import RULE_MAPS  # noqa: PLC0415 - not needed for --help
    from xdpctl.settings.values import sized_map  # noqa: PLC0415 - the same

    try:
        name, entries = sized_map(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if name not in RULE_MAPS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: only {', '.join(RULE_MAPS)} can be resized while the service runs"
        )
    return name, entries


def _run(arguments: argparse.Namespace, session: Session) -> int:
    client = session.client(arguments)
    status = client.get("/api/v1/status")
    done = []
    for name, entries in dict(arguments.sizes).items():
        query = {"map": str(name), "entries": str(entries)}
        if arguments.force or _is_free(client, status, name, entries):
            query["force"] = "1"
        answer = client.post("/api/v1/resize", query=query)
        done.append(answer)
        if not arguments.json:
            kept = answer.get("entries", 0)
            which = "its one entry is" if kept == 1 else f"its {kept:,} entries are"
            session.say(
                f"{name} has room for {entries:,} entries now, {which} kept; for the next boot,"
                f' set map-size = ["{name}={entries}"]'
            )
    if arguments.json:
        session.document({"resized": done})
    return 0


def _is_free(client: Client, status: dict[str, Any], name: MapName, entries: int) -> bool:
    """Return whether nobody but the service has a map open, as far as root can see.

    Raises:
        ConflictError: somebody has it open.
    """
    service = client.process() if os.geteuid() == 0 else None
    if service is None:
        return False
    from xdpctl.maps.holders import Holders, held_open  # noqa: PLC0415 - not needed for --help

    (number,) = (each["id"] for each in status["maps"] if each["name"] == name)
    sighting = Holders(own=service).keepers(number)
    if holders := sighting.of(number):
        raise ConflictError(held_open(name, entries, holders))
    return sighting.whole


VERBS = (
    Verb(
        "resize",
        "give a shared map more room, and keep its entries",
        _add_arguments,
        _run,
        examples=(
            "xdpctl resize qnames=100000",
            "xdpctl resize addr-v4=50000 addr-v6=50000",
        ),
    ),
)
