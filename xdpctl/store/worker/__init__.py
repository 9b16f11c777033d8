"""A process that works on long lists and ends, so that their memory ends with it.

parent.py    the service's side: starts it, gives it turns at the maps, ends it
messages.py  the messages between the two
__main__.py  the process itself, `python -m xdpctl.store.worker`
"""
