"""`make demo`: the service beside a real dnsdist, under real queries, as a live table.

__main__.py  the network, the order of start and stop, the clock
traffic.py   what is asked, and what came of it
table.py     figures to text; prints nothing itself
"""
