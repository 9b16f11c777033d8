"""Limits by source and in total, and who is exempt from their first account.

cookies.py   the secrets of DNS cookies, and the clock of their time stamps
"""
