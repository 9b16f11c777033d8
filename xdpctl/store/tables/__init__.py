"""Our own tables: the operator's zones and what lists claim.

table.py       one logical map of them, with the face of a map
tables.py      all of them: which generation is read, which are written
requests.py    requests to the program that writes to them
shape.py       how large they are made
generation.py  one generation in the kernel: made, taken over, lent, closed
engine.py      what one generation can do, as the rest of the store sees it
restoring.py   notes and tables kept in agreement
turn.py        the turn at the maps, marked in the tables

The tables hold fingerprints of names, not names: the notes (../state.py) have those. What is
in the tables is ours alone, so a note is valid as long as its entry is there.
"""
