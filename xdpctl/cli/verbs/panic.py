"""`panic` and `resume`: pass every packet at once, and filter again.

Owns the sentences. Does not own the switch (service/panic.py). Called by cli/main.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.cli.render import listed
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import XdpctlError

if TYPE_CHECKING:
    import argparse

    from xdpctl.cli.client import Client


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing, because these verbs have no arguments of their own."""


def _panic(arguments: argparse.Namespace, session: Session) -> int:
    return _switch(arguments, session, "panic", "every packet passes now, until `xdpctl resume`")


def _resume(arguments: argparse.Namespace, session: Session) -> int:
    return _switch(arguments, session, "resume", "filtering again")


_UNCHANGED = {
    "panic": "panic is on already: every packet passes, until `xdpctl resume`",
    "resume": "nothing to do: panic is not on",
}


def _switch(arguments: argparse.Namespace, session: Session, verb: str, done: str) -> int:
    client = session.client(arguments)
    answer = client.post(f"/api/v1/{verb}")
    if arguments.json:
        session.document(answer)
        return 0
    off = _not_attached(client)
    if not answer.get("changed", True):
        done = _UNCHANGED[verb]
    if not off or verb == "panic":
        session.say(done)
    if off and verb == "resume":
        over = "the panic is over, but" if answer.get("changed", True) else "panic is not on, but"
        session.say(
            f"{over} the filter is not on {listed(off)}: nothing is filtered there;"
            " `xdpctl attach` puts it back after a detach, `xdpctl status` shows more"
        )
    return 0


def _not_attached(client: Client) -> list[str]:
    """Return the service's interfaces without the filter; empty too if the service is busy."""
    try:
        document = client.call("GET", "/api/v1/status")
    except XdpctlError:  # the switch itself has been set
        return []
    interfaces: list[dict[str, str]] = document.get("interfaces", [])
    return [found["name"] for found in interfaces if found.get("state") != "attached"]


VERBS = (
    Verb("panic", "pass every packet at once, until resume", _no_arguments, _panic),
    Verb("resume", "filter again after panic", _no_arguments, _resume),
)
