"""`panic` and `resume`: pass every packet at once, and filter again.

Owns the sentences. Does not own the switch (service/panic.py). Called by cli/main.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.cli.verb import Session, Verb

if TYPE_CHECKING:
    import argparse


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing, because these verbs have no arguments of their own."""


def _panic(arguments: argparse.Namespace, session: Session) -> int:
    return _switch(arguments, session, "panic", "every packet passes now, until `xdpctl resume`")


def _resume(arguments: argparse.Namespace, session: Session) -> int:
    return _switch(arguments, session, "resume", "filtering again")


def _switch(arguments: argparse.Namespace, session: Session, verb: str, done: str) -> int:
    answer = session.client(arguments).post(f"/api/v1/{verb}")
    if arguments.json:
        session.document(answer)
    else:
        session.say(done)
    return 0


VERBS = (
    Verb("panic", "pass every packet at once, until resume", _no_arguments, _panic),
    Verb("resume", "filter again after panic", _no_arguments, _resume),
)
