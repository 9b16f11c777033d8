"""The comparison that a user would make: `make bench-drop`.

One flood of queries, by every means of dropping it, in front of one dnsdist that answers
honest queries at a steady rate; up to which rate is none of those lost, and what does a
dropped packet cost.

search.py    the rate search, percentiles, the kernel's accounting as text (no root)
flood.bpf.c  one query after the other, when it is due
sender.py    the process that sends the flood, on the sending core
honest.py    the process that asks honest queries and times the answers
site.py      two hosts, both cores, dnsdist; what is read off while a flood lasts
means.py     the ways to drop: each set up as its own users would, and seen to drop
report.py    medians and ratios, table, JSON
chart.py     the plot
__main__.py  the order of it all
"""
