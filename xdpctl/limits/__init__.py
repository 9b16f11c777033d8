"""Limits by source and in total, and who is exempt from their first account.

cookies.py   the secrets of DNS cookies, and the clock of their time stamps
proven.py    the table of proven sources, read and written from outside the program
"""
