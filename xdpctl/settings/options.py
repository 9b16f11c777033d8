"""The table of options: names, parsers, defaults, help.

Command line, environment variables, TOML keys, help, validation and what a reload can
change all derive from it. Does not own what an option does; the rest of the service does.
Called by the other modules of settings/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.process.log import LogFormat, LogLevel
from xdpctl.rules import AnyQtype, parse_network, parse_protected
from xdpctl.settings import values
from xdpctl.settings.zones import parse_zone_limit, parse_zone_names

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_FILE = "/etc/xdpctl/xdpctl.toml"

ENVIRONMENT_PREFIX = "XDPCTL_"


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: the name in the file, and on the command line without dashes.
        field: the field of `Settings` that holds its value.
        parse: text to value; raises ValueError or TargetError for invalid text.
        default: the default as text, for a list a tuple of texts; None: no value.
        metavar: the placeholder of the value in the help; empty: the option is a flag.
        group, help: for the help.
        short: the letter of `-x`.
        as_text: it must be a string in the file, because a number would mean something else.
        reload: SIGHUP can apply a change.
        is_joined: a list in the file is the same as one text with commas.
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
    is_joined: bool = False

    @property
    def is_list(self) -> bool:
        """Whether it can be given more than once."""
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
_LIMITS = "Limits"
_SAMPLES = "Samples of packets"
_FEEDS = "Lists that are zones"
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
        "native: run in the driver; generic: run in the network stack, slower; auto: native if the"
        " driver can, else generic with a warning",
    ),
    Option(
        "replace",
        "replace",
        values.flag,
        "no",
        "",
        _WHERE,
        "replace a foreign XDP program (not one that a foreign bpf_link holds)",
    ),
    Option(
        "on-exit",
        "on_exit",
        values.choice(values.OnExit),
        "detach",
        "detach|keep",
        _WHERE,
        "what happens to the program on the interface on SIGTERM and SIGINT (SIGUSR2 always keeps"
        " it); the shared maps always stay",
    ),
    Option(
        "wait",
        "wait",
        values.flag,
        "no",
        "",
        _WHERE,
        "start even if an interface does not exist yet; the service is ready when it exists",
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
        "port to which only address rules apply (DoT, DoH, DoQ); repeatable",
        reload=True,
    ),
    Option(
        "address",
        "addresses",
        parse_network,
        (),
        "ADDR|PREFIX",
        _WHAT,
        "destination address to filter; repeatable (default: every destination)",
        reload=True,
    ),
    Option(
        "tcp",
        "tcp",
        values.flag,
        "yes",
        "",
        _WHAT,
        "let Drop rules for addresses drop TCP too",
        reload=True,
    ),
    Option(
        "any-qtype",
        "any_qtype",
        values.choice(AnyQtype),
        "both",
        "both|65535|255",
        _WHAT,
        "type that means every type in the entry of a name; use 65535 with dnsdist 2.0 and later",
        reload=True,
    ),
    Option(
        "protect",
        "protect",
        parse_protected,
        (),
        "ADDR|PREFIX|NAME",
        _WHAT,
        "address or name that cannot be blocked without --force: health checkers, secondaries,"
        " load balancers, the names they ask for; repeatable",
        reload=True,
    ),
    Option(
        "xsk",
        "xsk",
        values.flag,
        "no",
        "",
        _XSK,
        "make the maps of AF_XDP, and redirect packets to the destinations in them",
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
        "restore AF_XDP destinations that dnsdist removed. Each start of the dnsdist program"
        " empties these maps, also a start of its console client. An entry is restored if a UDP"
        " socket is still bound to its address and port. This is off by default, because the"
        " socket may belong to another program",
    ),
    Option(
        "number-of-queues",
        "number_of_queues",
        values.number(1, 65536),
        "64",
        "N",
        _XSK,
        "entries of xskmap: at least the number of receive queues of the interface",
        short="q",
    ),
    Option(
        "maps-size",
        "maps_size",
        values.map_size,
        "1024",
        "N",
        _MAPS,
        "capacity of the maps that the service makes; existing maps keep theirs",
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
        "stale-dnsdist",
        "stale_dnsdist",
        values.stale_entries,
        "keep",
        "keep|expire:TIME",
        _MAPS,
        "what happens to entries of dnsdist's that are older than the dnsdist that runs now, which"
        " never ends them: keep, or expire:10m to remove them after a time, each with a log line",
        reload=True,
    ),
    Option(
        "pin-dir",
        "pin_dir",
        values.absolute_path,
        "/sys/fs/bpf/dnsdist",
        "DIR",
        _MAPS,
        "directory of the shared pins; made if missing",
    ),
    Option(
        "pin-owner",
        "pin_owner",
        values.owner,
        None,
        "USER[:GROUP]",
        _MAPS,
        "owner of the directory and the pins, so that dnsdist's user can use them (default: root"
        " owns those that the service makes)",
    ),
    Option(
        "pin-mode",
        "pin_mode",
        values.mode,
        "0600",
        "MODE",
        _MAPS,
        "permissions of the pins; the directory gets search permission too",
        as_text=True,
    ),
    Option(
        "exempt",
        "exempt",
        values.exempt,
        (),
        "ADDR|PREFIX",
        _LIMITS,
        "source whose packets always pass, before every rule and limit, also dnsdist's; repeatable",
        reload=True,
    ),
    Option(
        "rate-limit",
        "rate_limit",
        values.number(0, values.RATE_MAX),
        "0",
        "N",
        _LIMITS,
        "UDP queries a second that one source may send; more are answered with TC=1, which an"
        " honest client follows to TCP; 0: no limit",
        reload=True,
    ),
    Option(
        "rate-limit-burst",
        "rate_limit_burst",
        values.number(1, 100 * values.RATE_MAX),
        None,
        "N",
        _LIMITS,
        "queries that one source may send at one moment (default: 2.5 times --rate-limit)",
        reload=True,
    ),
    Option(
        "rate-limit-slip",
        "rate_limit_slip",
        values.number(0, 100),
        "1",
        "N",
        _LIMITS,
        "answer every Nth query over a limit with TC=1 and drop the others; 0: drop all",
        reload=True,
    ),
    Option(
        "rate-limit-prefixes",
        "rate_limit_prefixes",
        values.levels(32),
        "32:1,24:32",
        "LENGTH:TIMES,...",
        _LIMITS,
        "prefix lengths of IPv4 that have an account, and how many times --rate-limit each may"
        " send; 1 to 4",
        reload=True,
        is_joined=True,
    ),
    Option(
        "rate-limit-prefixes6",
        "rate_limit_prefixes6",
        values.levels(128),
        "64:1,48:8",
        "LENGTH:TIMES,...",
        _LIMITS,
        "the same for IPv6",
        reload=True,
        is_joined=True,
    ),
    Option(
        "rate-limit-table",
        "rate_limit_table",
        values.table_words,
        None,
        "N",
        _LIMITS,
        "words of 8 bytes in the table of accounts, a power of two (default: with a flood"
        " limit enough for what may pass, else 65536); another number forgets all accounts",
        reload=True,
    ),
    Option(
        "rate-limit-dry-run",
        "rate_limit_dry_run",
        values.flag,
        "no",
        "",
        _LIMITS,
        "let pass what is over a limit, and only count it",
        reload=True,
    ),
    Option(
        "flood-limit",
        "flood_limit",
        values.flood_rate,
        "0",
        "N",
        _LIMITS,
        "UDP queries a second that pass from all sources together; beyond it, only sources that"
        " have proven by TCP that they exist; 0: no limit",
        reload=True,
    ),
    Option(
        "flood-limit-proven",
        "flood_limit_proven",
        values.flood_rate,
        None,
        "N",
        _LIMITS,
        "queries a second that pass from proven sources beyond --flood-limit (default: as many)",
        reload=True,
    ),
    Option(
        "proof",
        "proof",
        values.choice(values.Proof),
        "socket",
        "socket|cgroup",
        _LIMITS,
        "how a TCP connection proves its source: socket: the filter looks for its socket; cgroup: a"
        " program at the root cgroup sees it, also in containers with mapped ports",
    ),
    Option(
        "proven-factor",
        "proven_factor",
        values.number(1, 1000),
        "8",
        "N",
        _LIMITS,
        "how many times --rate-limit a proven source may send, or one with a good DNS cookie",
        reload=True,
    ),
    Option(
        "proven-lifetime",
        "proven_lifetime",
        values.lifetime,
        "24h",
        "TIME",
        _LIMITS,
        "how long a source stays proven",
        reload=True,
    ),
    Option(
        "cookie-secret-file",
        "cookie_secret_file",
        values.path,
        None,
        "PATH",
        _LIMITS,
        "file with the DNS server's own cookie secrets, one or two lines of 32 hex digits, mode"
        " 0600; read again on SIGHUP",
        reload=True,
    ),
    Option(
        "zone-limit",
        "zone_limits",
        parse_zone_limit,
        (),
        ".ZONE=N",
        _LIMITS,
        "UDP queries a second for names below a zone that are not known to exist; more are answered"
        " with TC=1; repeatable. Without --zone-names every name below the zone counts",
        reload=True,
    ),
    Option(
        "zone-names",
        "zone_names",
        parse_zone_names,
        (),
        ".ZONE=ADDR[:PORT]",
        _LIMITS,
        "primary from which the names that exist are transferred (AXFR, then IXFR); repeatable. A"
        " key for it is set in [[zone]]",
        reload=True,
    ),
    Option(
        "sample-budget",
        "sample_budget",
        values.number(0, values.SAMPLES_MAX),
        "2000",
        "N",
        _SAMPLES,
        "packets a second that are sampled while somebody looks (`xdpctl top --live`, `watch`, the"
        " page): half of those that pass, half of the others; 0: none ever, and no code for it in"
        " the filter",
        reload=True,
    ),
    Option(
        "sample-length",
        "sample_length",
        values.number(*values.SAMPLE_OCTETS),
        "512",
        "N",
        _SAMPLES,
        "octets of a sampled packet that are kept, its headers included",
        reload=True,
    ),
    Option(
        "sample-addresses",
        "sample_addresses",
        values.kept_bits,
        "full",
        "full|BITS,BITS",
        _SAMPLES,
        "24,48 keeps so many bits of clients' IPv4 and IPv6 addresses in samples, also of EDNS"
        " client subnets, before anything else sees them",
        reload=True,
    ),
    Option(
        "sample-dnstap",
        "sample_dnstap",
        values.dnstap_target,
        None,
        "PATH|tcp:HOST:PORT|tls:HOST:PORT|file:PATH",
        _SAMPLES,
        "where sampled queries go as dnstap, all the time: the unix socket, TCP port or TLS port of"
        " a receiver, or a file, which each start and reload begins again (default: nowhere)",
        reload=True,
    ),
    Option(
        "notify-listen",
        "notify_listen",
        values.notify_listen,
        "none",
        "HOST:PORT|none",
        _FEEDS,
        "where primaries send NOTIFY for the zones of [[list]], over UDP and TCP: a hint that the"
        " primaries of the zone are asked at once",
    ),
    Option(
        "publish",
        "publish",
        values.zone_or_none,
        "none",
        "ZONE|none",
        _FEEDS,
        "zone of a [[list]] in which the service publishes what it blocks by itself for more than a"
        " minute, for other hosts; `xdpctl publish` needs no option",
        reload=True,
    ),
    Option(
        "listen",
        "listen",
        values.listen,
        "127.0.0.1:9953",
        "HOST:PORT|none",
        _FACES,
        "address of metrics and API, or none",
    ),
    Option(
        "token-file",
        "token_file",
        values.path,
        None,
        "PATH",
        _FACES,
        "file with the bearer token that writes over --listen need, mode 0600; read again on"
        " SIGHUP (default: no writes over --listen)",
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
        "private key of the certificate, PEM, without a passphrase; read again on SIGHUP",
    ),
    Option(
        "page",
        "page",
        values.flag,
        None,
        "",
        _FACES,
        "serve the web page at / of --listen; it has no data without the token (default: on"
        " loopback only)",
    ),
    Option(
        "control",
        "control",
        values.socket_path,
        "/run/xdpctl/control.sock",
        "PATH",
        _FACES,
        "unix socket of the API, which the verbs use",
    ),
    Option(
        "control-group",
        "control_group",
        values.group,
        None,
        "GROUP",
        _FACES,
        "group that can use the control socket",
    ),
    Option(
        "log-level",
        "log_level",
        values.choice(LogLevel),
        "info",
        "debug|info|warning|error",
        _FACES,
        "least severe level that is logged, to standard error",
        reload=True,
    ),
    Option(
        "log-format",
        "log_format",
        values.choice(LogFormat),
        "text",
        "text|json",
        _FACES,
        "format of the log; both have one line for each event",
    ),
    Option(
        "state",
        "state",
        values.path,
        "/var/lib/xdpctl/state.db",
        "PATH",
        _FILES,
        "file for what the maps cannot hold: origin, reason and expiry of each rule",
    ),
)

CONFIG = Option(
    "config",
    "config",
    values.path,
    None,
    "FILE",
    _FILES,
    f"TOML file with these names as keys; the command line wins over the environment, and the"
    f" environment over the file; default {DEFAULT_FILE} if it exists",
)
"""Not in the table, because the file cannot name itself."""

BY_NAME = {option.name: option for option in OPTIONS}
