"""What would keep the service from working here, and what would surprise its operator.

    facts.py      what was looked at, as values, and `Finding`
    host.py       findings about the host, the pin directory, the pins
    interface.py  findings about one interface
    whole.py      all of them in order, and what only settings and facts together tell
    survey.py     gathers the facts; the only part that touches the kernel

All but survey.py is pure, so that each check is tested with made-up facts. The verb
`check` prints every finding; the service logs `warnings_at_start`, shows
`interface_warnings` as interfaces change, and refuses to start on an interface that
`queue_shortage` names.
"""

from xdpctl.diagnosis.facts import (
    DirectoryFacts,
    Facts,
    Finding,
    HostFacts,
    InterfaceFacts,
    Level,
    PinFacts,
    XdpFacts,
)
from xdpctl.diagnosis.interface import queue_shortage
from xdpctl.diagnosis.whole import findings, interface_warnings, warnings_at_start

__all__ = [
    "DirectoryFacts",
    "Facts",
    "Finding",
    "HostFacts",
    "InterfaceFacts",
    "Level",
    "PinFacts",
    "XdpFacts",
    "findings",
    "interface_warnings",
    "queue_shortage",
    "warnings_at_start",
]
