"""xdpctl: an XDP shield for DNS servers.

A service that attaches an XDP program to network interfaces, shares pinned
rule maps with a DNS server, and a command line that talks to it. Start
reading at `service.py` (what runs) or `abi.py` (what the kernel sees).
"""

__version__ = "0.1.0"
