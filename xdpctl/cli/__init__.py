"""The command line: verbs over the control socket, and the way into the service.

One file a verb family; `verb.py` says what a verb is, `main.py` finds it by name.
A new family is a new file and its line in `main.FAMILIES`.
"""
