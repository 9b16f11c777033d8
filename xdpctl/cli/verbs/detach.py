"""`detach`: removes our program from interfaces, through the service if one answers.

Never removes a foreign program. Does not decide which programs are ours; that is in
filter/own_pins.py. Owns the choice between the service and doing it itself. Called by cli/main.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.cli.verb import Session, Verb, add_interfaces
from xdpctl.errors import InterfaceError, NotFoundError, ServiceUnreachableError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from xdpctl.cli.client import Client


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_interfaces(parser, "only from this interface; repeatable (default: from every interface)")
    parser.add_argument(
        "--if-any",
        action="store_true",
        help="succeed if no program of xdpctl is attached",
    )


def _run(arguments: argparse.Namespace, session: Session) -> int:
    names: list[str] = list(dict.fromkeys(arguments.interface))
    client = session.client(arguments)
    served = _served(client)
    if served is None:
        detached = _directly(names)
    elif not names:
        detached = _through(client, [])
    else:
        # The service would attach its program again if it were removed without its knowledge.
        asked = [name for name in names if name in served]
        detached = _through(client, asked) if asked else []
        others = [name for name in names if name not in served]
        detached += _directly(others) if others else []
    if arguments.json:
        session.document({"detached": detached})
    elif detached:
        session.say(f"detached from {', '.join(detached)}")
    missing = [name for name in names if name not in detached]
    if (missing or not detached) and not arguments.if_any:
        where = f"on {', '.join(missing)}" if missing else "on any interface"
        raise NotFoundError(
            f"cannot detach: there is no program of xdpctl {where}; `xdpctl check` shows which"
            " program is attached"
        )
    return 0


def _served(client: Client) -> frozenset[str] | None:
    """Return the interfaces of the service; None if no service answers."""
    try:
        document = client.get("/api/v1/status")
    except ServiceUnreachableError:
        return None
    return frozenset(interface["name"] for interface in document.get("interfaces", []))


def _through(client: Client, names: list[str]) -> list[str]:
    answer = client.post("/api/v1/detach", {"interfaces": names})
    return [str(name) for name in answer.get("detached", [])]


def _directly(names: list[str]) -> list[str]:
    """Detach without a service.

    Args:
        names: the interfaces; empty: every interface with an XDP program.

    Raises:
        InterfaceError: a given interface does not exist.
    """
    from xdpctl.filter.own_pins import (  # noqa: PLC0415 - the same
        detach_interface,
        remove_left,
    )
    from xdpctl.kernel.bpf.syscall import Bpf  # noqa: PLC0415 - not needed if a service answers
    from xdpctl.kernel.net.interfaces import Netlink  # noqa: PLC0415 - the same

    bpf, netlink = Bpf(), Netlink()
    carrying = [found.name for found in netlink.interfaces() if found.attached is not None]
    try:
        return detach_each(
            names or carrying,
            lambda name: detach_interface(bpf, netlink, name),
            gone_is=None if names else False,
        )
    finally:
        remove_left()


def detach_each(
    names: Iterable[str], detach: Callable[[str], bool], *, gone_is: bool | None = None
) -> list[str]:
    """Return the interfaces from which `detach` removed our program.

    Args:
        names: the interfaces.
        detach: detaches one; returns whether it removed our program.
        gone_is: what counts for an interface that no longer exists; None: it is an error.

    Raises:
        InterfaceError: an interface does not exist, and `gone_is` is None.
    """
    detached = []
    for name in names:
        try:
            done = detach(name)
        except InterfaceError:
            if gone_is is None:
                raise
            done = gone_is
        if done:
            detached.append(name)
    return detached


VERBS = (
    Verb(
        "detach",
        "remove our program from interfaces, even if the service is dead",
        _add_arguments,
        _run,
        examples=(
            "xdpctl detach",
            "xdpctl detach --interface eth0",
        ),
    ),
)
