"""The process that keeps CAP_PERFMON for the service, and loads its programs.

parent.py        the service's side: starts it, gives it programs
messages.py      what goes between the two
instructions.py  which instructions it loads
process.py       its own side
"""
