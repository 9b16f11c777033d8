"""`attach`: puts the filter back on interfaces from which `detach` took it.

Needs the service, which has the program. Owns the sentence. Does not own attaching
(filter/filter.py). Called by cli/main.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.cli.verb import Session, Verb, add_interfaces

if TYPE_CHECKING:
    import argparse


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_interfaces(
        parser, "only to this interface; repeatable (default: to every interface of the service)"
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    names: list[str] = list(dict.fromkeys(arguments.interface))
    answer = session.client(arguments).post("/api/v1/attach", {"interfaces": names})
    attached = [str(name) for name in answer.get("attached", [])]
    if arguments.json:
        session.document({"attached": attached})
    elif attached:
        session.say(f"attached to {', '.join(attached)}")
    else:
        which = f"{', '.join(names)} was not detached" if names else "no interface was detached"
        session.say(f"nothing to do: {which}; `xdpctl status` shows where the filter is")
    return 0


VERBS = (
    Verb(
        "attach",
        "put the filter back after detach",
        _add_arguments,
        _run,
        examples=("xdpctl attach --interface eth0",),
    ),
)
