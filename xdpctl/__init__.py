"""xdpctl: an XDP shield for DNS servers.

A service that attaches an XDP program to network interfaces, shares pinned rule maps with a
DNS server, and a command line that talks to it. Its rooms, from the roof to the ground; each
imports what is further down only (tests/unit/test_rooms.py):

    __main__.py  `python -m xdpctl`
    cli/         the command line: verbs, and the way into the service
    service/     what is started in which order, runs together, and stops in reverse
    http/        metrics and API
    status/      what was last seen: snapshot, metrics, checks
    filter/      the program on an interface
    feeds/       where rules come from besides the API
    maps/        maps that are kept for others
    program/     the XDP program of a configuration
    zones/       the names of the operator's own zones
    settings/    command line, environment and TOML to one value
    limits/      the numbers that limits are calculated with, and their tables
    samples/     one packet of many, for whoever looks
    store/       rules over maps, with notes
    transfers/   what a primary knows of a zone
    kernel/      the seam to the kernel: BPF and network interfaces
    process/     this process: log, threads, children, privileges
    rules/       rules as values
    abi.py       the binary contract with the program and the DNS server
    errors.py    the tree of errors
"""

__version__ = "0.1.0"
