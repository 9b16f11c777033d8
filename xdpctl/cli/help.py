"""`xdpctl --help`: the list of verbs, and the options of the service.

Owns the layout of this help. Does not own the texts of verbs (verb.py) or options (settings/).
Called by main.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.process.command_line import ArgumentParser
from xdpctl.settings import add_service_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.cli.verb import Verb

_STATUS = "exit status: 0 done, 1 refused or failed, 2 usage, 3 no service on the control socket"


def overview(verbs: Sequence[Verb]) -> str:
    """Return the whole help text."""
    width = max(len(verb.name) for verb in verbs)
    lines = [f"  {verb.name:<{width}}  {verb.summary}" for verb in verbs]
    service = ArgumentParser(prog="xdpctl")
    service.add_argument("-V", "--version", action="store_true", help="print the version")
    add_service_options(service)
    return "\n".join(
        (
            "usage: xdpctl --interface NAME [option ...]   run the service",
            "       xdpctl VERB [argument ...]             talk to the running service",
            "",
            "An XDP shield for DNS servers: drops what dnsdist blocks, or answers it with TC=1.",
            "",
            "verbs (`xdpctl VERB --help` shows each one's arguments):",
            *lines,
            "",
            _STATUS,
            "",
            "Without a verb, xdpctl runs the service, with these options:",
            service.format_help().partition("\n\n")[2],
        )
    )
