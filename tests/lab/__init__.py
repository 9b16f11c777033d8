"""A network in a box: hosts as network namespaces, wires as veth pairs, real peers.

    with Lab() as lab:
        client, server = lab.pair()
        backend = Responder(lab, server)
        dnsdist = Dnsdist17(lab, server, DNSDIST_CONFIG)
        service = Service(lab, server)
        answer = dig(client, "www.example.com")

Used by tests/net, the demo and the benchmark. A lab has its own names, folder and pin
directory, and everything that it made is gone when it closes, failures included. Needs
root. Every module is synchronous, and knows xdpctl from the outside only (but for
xdpctl.kernel.bpf.syscall, which loads the empty program that a veth end needs, and the name of
the folder with compiled programs).

    hosts.py      Lab, Host: namespaces, wires, addresses, sockets in a namespace
    process.py    Process: start, wait for a line or a condition, stop, output
    bytecode.py   what services compiled, kept for the next ones
    service.py    Service: `python -m xdpctl` in a namespace, its verbs and metrics
    dnsdist.py    Dnsdist17: Debian 12's dnsdist
    responder.py  Responder: a small DNS server for any name, UDP and TCP
    resolver.py   Unbound, Bind: forwarding resolvers
    authorities.py  BIND, Unbound, dnsdist, Knot and NSD on one host, for the same zones
    primaries.py  BIND, Knot, NSD and PowerDNS as the primary of a zone, with a key
    wire.py       Wire: any frames out, answers in
    query.py      dig, kdig: one query by a real client, its answer parsed
    flooding.py   a flood: one source, many names, and honest ones beside it
    browser.py    Debian's Chromium, led by Selenium
    stream.py     Stream: thousands of queries, and whether blocked ones arrived
"""

from tests.lab.dnsdist import Dnsdist17
from tests.lab.hosts import Host, Lab
from tests.lab.process import LabError, Process, eventually
from tests.lab.query import Answer, dig, kdig
from tests.lab.resolver import Bind, Unbound
from tests.lab.responder import Responder
from tests.lab.service import Service
from tests.lab.stream import Stream

__all__ = [
    "Answer",
    "Bind",
    "Dnsdist17",
    "Host",
    "Lab",
    "LabError",
    "Process",
    "Responder",
    "Service",
    "Stream",
    "Unbound",
    "dig",
    "eventually",
    "kdig",
]
