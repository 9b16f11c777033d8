"""Limits: the numbers that the filter calculates with, and its table of accounts.

parameters.py  settings to numbers: units, clock, room, prices
table.py       how large the table is, how full, and what to warn of
"""
