"""Which sampled packets: the options of the verbs that show traffic, and what they ask for.

Owns these options. Does not own what they mean (http/api/queries.py). Called by verbs/top.py and
verbs/watch.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.cli.verb import number_up_to

if TYPE_CHECKING:
    import argparse

_PORT_MAX = 65_535
_FILTERS = ("source", "name", "qtype", "action", "reason", "port", "interface")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose packets."""
    group = parser.add_argument_group("only packets")
    group.add_argument("--source", metavar="ADDR|PREFIX", help="of this source")
    group.add_argument(
        "--name", metavar="NAME|ZONE", help="that ask for this name, or for names of .ZONE"
    )
    group.add_argument("--qtype", metavar="TYPE", help="that ask for this type")
    group.add_argument(
        "--action",
        choices=("pass", "drop", "truncate", "redirect"),
        help="with which this was done",
    )
    group.add_argument(
        "--reason", metavar="REASON", help="with this reason: addr-v4, limit, no-match …"
    )
    group.add_argument(
        "--port", type=number_up_to(_PORT_MAX), metavar="N", help="to this UDP or TCP port"
    )
    group.add_argument("-i", "--interface", metavar="NAME", help="of this interface")


def filters(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the parameters of a request for the packets that the arguments choose."""
    return {
        name: str(value) for name in _FILTERS if (value := getattr(arguments, name)) is not None
    }
