"""What a service that does not answer has left: a filter that still drops, or nothing.

A killed service leaves its filter on the interface. An operator who then types `panic` must hear
that, and what to do. Owns the sentence. Does not own which program is ours (filter/own_pins.py).
Called by main.py when no service answers; blocks, and looks only.
"""

from __future__ import annotations

from xdpctl.cli.render import listed
from xdpctl.errors import ServiceUnreachableError, XdpctlError
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY, netns_inode


def without_service(error: ServiceUnreachableError) -> ServiceUnreachableError:
    """Return the error with what is still on the interfaces, if anything is."""
    left, served = filters_left(), services()
    if served:
        return ServiceUnreachableError(
            f"{error.sentence.partition(': ')[0]}, but a service runs on {listed(served)} with"
            " another control socket: give it with --control or XDPCTL_CONTROL"
        )
    if not left:
        return error
    return ServiceUnreachableError(
        f"{error.sentence.partition(': ')[0]}, but its filter is still on {listed(left)} and acts"
        " on packets: `xdpctl detach` takes it off (every packet then passes), and starting the"
        " service takes it over (`systemctl start xdpctl`)"
    )


def filters_left() -> list[str]:
    """Return the interfaces with a program of ours; empty too if that cannot be seen."""
    try:
        if not _has_pins():
            return []
        from xdpctl.filter.own_pins import carries_filter  # noqa: PLC0415 - rarely needed
        from xdpctl.kernel.bpf.syscall import Bpf  # noqa: PLC0415 - the same
        from xdpctl.kernel.net.interfaces import Netlink  # noqa: PLC0415 - the same

        bpf = Bpf()
        return [found.name for found in Netlink().interfaces() if carries_filter(bpf, found)]
    except (XdpctlError, OSError, ImportError):
        return []


def services() -> list[str]:
    """Return the interfaces that a running service has here; empty too if that cannot be seen."""
    try:
        if not _has_pins():
            return []
        from xdpctl.filter.own_pins import OwnPins, is_served  # noqa: PLC0415 - rarely needed
        from xdpctl.kernel.net.interfaces import Netlink  # noqa: PLC0415 - the same

        names = [found.name for found in Netlink().interfaces()]
        return [name for name in names if is_served(OwnPins(OWN_DIRECTORY, name).link_path)]
    except (XdpctlError, OSError, ImportError):
        return []


def _has_pins() -> bool:
    """Return whether there are pins of ours for this network namespace: the cheap look."""
    start = f"{netns_inode()}-"
    return any(path.name.startswith(start) for path in OWN_DIRECTORY.iterdir())
