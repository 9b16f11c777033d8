"""Lists: files of rules that the service keeps up with (`[[list]]` in the TOML).

    keeper.py   when each list is read, what becomes of a broken version
    origins.py  which origins are lists', and the end of those that are no more
    inotify.py  the kernel's word that a directory has changed
    reading.py  one reading of one file: opened, its format found, rows in parts
    lines.py    formats of a line each: targets, cidr, hosts
    rpz.py      response policy zones, read by dnspython

A list's rules are exactly those of its file's last good version. They are made by
difference under the list's origin (bulk.py), so a rule in both versions keeps its
counter. What a rule cannot say is left out, counted and named; it is never guessed.
"""

from xdpctl.lists.keeper import ListKeeper
from xdpctl.lists.origins import ListDesk

__all__ = ["ListDesk", "ListKeeper"]
