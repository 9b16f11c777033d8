"""The process that keeps CAP_PERFMON and loads programs for the service.

parent.py        the service's side: starts the loader and sends it programs
messages.py      the messages between the two
instructions.py  which instructions the loader accepts
process.py       the loader's side
"""
