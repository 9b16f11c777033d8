"""What honest clients get while a server is attacked: `make bench-attack`.

A real BIND or Knot answers 10,000 quiet clients, fifty resolvers (two real Unbounds among them)
and one attack after the other, behind each defence in turn. What counts is the share of honest
questions that are answered.

attacks.py     who attacks, with what
attack.bpf.c   one packet of an attack after the other, when it is due
wall.bpf.c     the clients' end of the wire: drops answers that nobody waits for
sender.py      the process that sends an attack, on the sending core
wire.py        honest questions and their answers, as octets
honest.py      the process that asks honestly, over UDP, and over TCP where it is told to
defences.py    the ways to defend, each set up as its own users would
site.py        two hosts, both cores, the server; one trial
outcome.py     what a trial came to, a row of the table
report.py      the tables in Markdown, JSON
chart.py       the plot
__main__.py    the order of it all
"""
