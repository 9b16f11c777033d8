"""The names of the operator's own zones, and where the kernel finds them.

    hashing.py   the keyed hash that stands for a name
    names.py     a table of the names of one zone, as the program reads it
    counting.py  what a transfer's records mean for the names that exist
    image.py     the last good version of a zone's names, in a file
    follower.py  keeps the names of one zone up, by SOA, AXFR and IXFR
    messages.py  between the service and the process that does this
    __main__.py  that process
    parent.py    starts it, and gives it memory of the kernel
    tables.py    the limits of zones in the kernel's maps
    heavy.py     zones that are asked for much, and what could be done
    suffixes.py  public suffixes

A name exists if it has records, or if a name below it has (an empty non-terminal). Below a
wildcard, a delegation and a DNAME record, every name counts as existing. No name is kept, only
hashes of 62 bits whose keys are secret.
"""
