"""Limits: the numbers that the filter calculates with, and what is in its tables.

parameters.py  settings to numbers: clock, room, prices
table.py       how large the table of accounts is, how full, and what to warn of
ticks.py       the kernel's ticks
acting.py      which limits act now
listeners.py   whether the DNS server answers over TCP
view.py        the limits as values for others
proven.py      the table of proven sources
cookies.py     the secrets of DNS cookies, and the clock of their time stamps
"""
