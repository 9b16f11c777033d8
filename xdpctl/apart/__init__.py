"""Long work on rules in a process of its own: large lists, large exports.

    messages.py   what goes between the two processes
    worker.py     this side: starts the process, gives it turns at the maps, ends it
    __main__.py   the other side, `python -m xdpctl.apart`: does the work and ends

To go through a million rules is seconds of Python, during which the loop of the service
would wait for the interpreter again and again, and would leave the service with the
memory. A process of its own has an interpreter of its own, and its memory goes with it.
It writes only while it has its turn (the lock of the store), and it dies with the service.
"""
