"""Unbound and BIND, Debian 12's packages, as resolvers that forward to one server.

They are clients of what stands behind the filter: cookies, EDNS and the way back over
TCP are theirs. Both answer on 127.0.0.1 of their host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.hosts import Host
    from tests.lab.process import Process

UNBOUND = """\
server:
    interface: 127.0.0.1
    access-control: 127.0.0.0/8 allow
    directory: "{directory}"
    pidfile: ""
    username: ""
    chroot: ""
    use-syslog: no
    logfile: ""
    verbosity: 1
    do-daemonize: no
    do-not-query-localhost: no
    module-config: "iterator"
    num-threads: 1
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: {server}
"""

BIND = """\
options {{
    directory "{directory}";
    pid-file none;
    session-keyfile none;
    listen-on {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    recursion yes;
    forward only;
    forwarders {{ {server}; }};
    dnssec-validation no;
    send-cookie yes;
    empty-zones-enable no;
}};
controls {{ }};
"""


class Unbound:
    """Unbound on a host, answering when the constructor returns; forwards to `server`."""

    def __init__(self, host: Host, server: str) -> None:
        config = host.lab.write(
            f"{host.name}-unbound.conf",
            UNBOUND.format(directory=host.lab.directory, server=server),
        )
        self.process: Process = host.start("unbound", "unbound", "-d", "-c", str(config))
        self.process.line(r"start of service")


class Bind:
    """BIND's named on a host, answering when the constructor returns; forwards to `server`."""

    def __init__(self, host: Host, server: str) -> None:
        config = host.lab.write(
            f"{host.name}-named.conf", BIND.format(directory=host.lab.directory, server=server)
        )
        self.process: Process = host.start("named", "named", "-g", "-n", "1", "-c", str(config))
        self.process.line(r"\brunning$")
