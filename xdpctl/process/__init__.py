"""This process: log, command line, threads, children, privileges, clock, systemd.

log.py           one event with fields a line
command_line.py  the parser of arguments, and usage errors as one sentence
threads.py       threads for blocking work, and the fair lock
children.py      Python processes: their environment, and signals
lanes.py         one thread that does what is most urgent first
capabilities.py  the capability sets of a thread
privileges.py    capabilities given up and lent
clock.py         the clock of this boot
systemd.py       messages to the service manager
"""
