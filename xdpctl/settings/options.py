"""The one table of options: names, kinds, defaults, help.

Command line, environment names, TOML keys, help texts, validation and what a
reload can change all derive from it; nothing about a single option is said
elsewhere but its meaning to the rest of the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.process.log import LogFormat, LogLevel
from xdpctl.rules import AnyQtype, parse_network
from xdpctl.settings import values

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_FILE = "/etc/xdpctl/xdpctl.toml"

ENVIRONMENT_PREFIX = "XDPCTL_"


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: as on the command line without dashes, and in the file.
        field: the field of `Settings` that holds its value.
        parse: text to value; ValueError or TargetError where it cannot be.
        default: as text, so that help and value are one; None: no value. For a list a
            tuple of texts.
        metavar: what stands for the value in the help; empty: the option is a flag.
        group, help: for the help.
        short: the letter of `-x`.
        as_text: in the file it must be a string, a number would mean something else.
        reload: SIGHUP can apply a change.
    """

    name: str
    field: str
    parse: Callable[[str], object]
    default: str | tuple[str, ...] | None
    metavar: str
    group: str
    help: str
    short: str = ""
    as_text: bool = False
    reload: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it may be given more than once."""
        return isinstance(self.default, tuple)

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value on the command line."""
        return not self.metavar

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper().replace("-", "_")


_WHERE = "Interfaces and the program on them"
_WHAT = "What is filtered"
_XSK = "AF_XDP"
_MAPS = "Shared maps"
_FACES = "Metrics, API, log"
_FILES = "Files"

OPTIONS = (
    Option(
        "interface",
        "interfaces",
        values.interface,
        (),
        "NAME",
        _WHERE,
        "network interface to filter; repeatable, at least one",
        short="i",
    ),
    Option(
        "mode",
        "mode",
        values.choice(values.ModeSetting),
        "auto",
        "auto|native|generic",
        _WHERE,
        "native: in the driver; generic: in the stack, slow; auto: native, else generic with a"
        " warning",
    ),
    Option(
        "replace",
        "replace",
        values.flag,
        "no",
        "",
        _WHERE,
        "take the place of a foreign XDP program (not of one held by a foreign link)",
    ),
    Option(
        "on-exit",
        "on_exit",
        values.choice(values.OnExit),
        "detach",
        "detach|keep",
        _WHERE,
        "what SIGTERM and SIGINT do to the program on the interface (SIGUSR2 always keeps it);"
        " maps always stay",
    ),
    Option(
        "wait",
        "wait",
        values.flag,
        "no",
        "",
        _WHERE,
        "start although an interface does not exist yet; ready is when it does",
    ),
    Option(
        "port",
        "ports",
        values.port,
        ("53",),
        "N",
        _WHAT,
        "port of plain DNS; repeatable",
        reload=True,
    ),
    Option(
        "address-port",
        "address_ports",
        values.port,
        (),
        "N",
        _WHAT,
        "port for address rules only (DoT, DoH, DoQ); repeatable",
        reload=True,
    ),
    Option(
        "address",
        "addresses",
        parse_network,
        (),
        "ADDR|PREFIX",
        _WHAT,
        "destination that is filtered; repeatable; none given: every one",
        reload=True,
    ),
    Option(
        "tcp",
        "tcp",
        values.flag,
        "yes",
        "",
        _WHAT,
        "let address rules drop TCP too",
        reload=True,
    ),
    Option(
        "any-qtype",
        "any_qtype",
        values.choice(AnyQtype),
        "both",
        "both|65535|255",
        _WHAT,
        "type of a name's entry that stands for every type; 65535 with dnsdist 2.0 and later",
        reload=True,
    ),
    Option(
        "protect",
        "protect",
        parse_network,
        (),
        "ADDR|PREFIX",
        _WHAT,
        "address that is not blocked without --force: health checkers, secondaries, load"
        " balancers; repeatable",
        reload=True,
    ),
    Option(
        "xsk",
        "xsk",
        values.flag,
        "no",
        "",
        _XSK,
        "make the maps of AF_XDP and redirect what they name",
    ),
    Option(
        "xsk-family",
        "xsk_family",
        values.choice(values.XskFamily),
        "both",
        "both|4",
        _XSK,
        "4 leaves IPv6 to the kernel's socket, which dnsdist 1.9 needs",
    ),
    Option(
        "xsk-restore",
        "xsk_restore",
        values.flag,
        "no",
        "",
        _XSK,
        "put back the AF_XDP destinations that a start of the dnsdist program removed. Off, as"
        " dnsdist empties these maps at every start, its console client's included, and an entry"
        " is right only while dnsdist serves its socket: it is put back where a UDP socket is"
        " still bound to that address and port, which cannot tell whose socket it is",
    ),
    Option(
        "number-of-queues",
        "number_of_queues",
        values.number(1, 65536),
        "64",
        "N",
        _XSK,
        "entries of xskmap: at least the interface's receive queues",
        short="q",
    ),
    Option(
        "maps-size",
        "maps_size",
        values.map_size,
        "1024",
        "N",
        _MAPS,
        "entries of the maps that have to be made; existing ones keep theirs",
        short="m",
    ),
    Option(
        "map-size",
        "map_sizes",
        values.sized_map,
        (),
        "NAME=N",
        _MAPS,
        "the same for one map; repeatable",
    ),
    Option(
        "pin-dir",
        "pin_dir",
        values.absolute_path,
        "/sys/fs/bpf/dnsdist",
        "DIR",
        _MAPS,
        "where the maps are pinned, made if missing",
    ),
    Option(
        "pin-owner",
        "pin_owner",
        values.owner,
        None,
        "USER[:GROUP]",
        _MAPS,
        "whose the directory and the pins are, so that dnsdist's user may use them; none given:"
        " root's where they have to be made",
    ),
    Option(
        "pin-mode",
        "pin_mode",
        values.mode,
        "0600",
        "MODE",
        _MAPS,
        "permissions of the pins; the directory gets search beside them",
        as_text=True,
    ),
    Option(
        "listen",
        "listen",
        values.listen,
        "127.0.0.1:9953",
        "HOST:PORT|none",
        _FACES,
        "metrics and API",
    ),
    Option(
        "token-file",
        "token_file",
        values.path,
        None,
        "PATH",
        _FACES,
        "file with the bearer token that writes over --listen need, mode 0600; read again on"
        " SIGHUP; none given: no writes there",
    ),
    Option(
        "tls-cert",
        "tls_cert",
        values.path,
        None,
        "PATH",
        _FACES,
        "certificate chain for --listen, PEM; read again on SIGHUP",
    ),
    Option(
        "tls-key",
        "tls_key",
        values.path,
        None,
        "PATH",
        _FACES,
        "its private key, PEM, without a passphrase",
    ),
    Option(
        "control",
        "control",
        values.socket_path,
        "/run/xdpctl/control.sock",
        "PATH",
        _FACES,
        "unix socket of the API, which the verbs talk to",
    ),
    Option(
        "control-group",
        "control_group",
        values.group,
        None,
        "GROUP",
        _FACES,
        "group that may use the control socket",
    ),
    Option(
        "log-level",
        "log_level",
        values.choice(LogLevel),
        "info",
        "debug|info|warning|error",
        _FACES,
        "what is logged at all, to standard error",
        reload=True,
    ),
    Option(
        "log-format",
        "log_format",
        values.choice(LogFormat),
        "text",
        "text|json",
        _FACES,
        "one line an event in both",
    ),
    Option(
        "state",
        "state",
        values.path,
        "/var/lib/xdpctl/state.db",
        "PATH",
        _FILES,
        "what the maps cannot hold: origin, reason, expiry",
    ),
)

CONFIG = Option(
    "config",
    "config",
    values.path,
    None,
    "FILE",
    _FILES,
    f"TOML with these names as keys; the command line wins over the environment, that over the"
    f" file; default {DEFAULT_FILE} where it exists",
)
"""Beside the table, as the file cannot name itself."""

BY_NAME = {option.name: option for option in OPTIONS}
