"""Limits: the numbers that the filter calculates with, its tables, and the secrets of cookies.

parameters.py  settings to numbers: units, clock, room, prices
table.py       how large the table is, how full, and what to warn of
cookies.py     the secrets of DNS cookies, and the clock of their time stamps
proven.py      the table of proven sources, read and written from outside the program
"""
