"""Shapes in which a blocked query can be sent so that a filter may not know it again.

A shape turns one question from one source to one server into frames. Servers behind the
filter get all of them (tests/net/evasion_site.py): a shape evades when a server answers
what is blocked. Frames and messages are built by tests/packets; nothing here knows the
filter.

    shape.py      Ask, Shape, and the pieces that shapes are made of
    messages.py   the DNS message and the UDP header
    headers.py    IPv4 and IPv6 headers in one packet
    tags.py       Ethernet: VLAN tags, other encapsulations, addresses, padding
    fragments.py  two and more fragments: cuts, overlaps, lies in lengths
    chains.py     IPv6 extension headers and fragments together
    mixtures.py  an odd message in an odd packet
    zones.py     names below a blocked zone
    table.py      SHAPES: all of them, but those of zones.py
"""
