"""Lists that are zones: a process that follows them by SOA, AXFR, IXFR and NOTIFY.

    messages.py   between the service and that process
    following.py  lets a process follow the zones that are wanted now
    parent.py     starts it, and hears it
    __main__.py   that process: when each zone is looked at
    follower.py   keeps one zone up: asks its primaries, and offers what they have
    binding.py    the sockets at which NOTIFY comes
    notify.py     listens for NOTIFY
    records.py    the versions of a zone, in files
    rows.py       records as rows
    reading.py    one version as rules: the whole, or what changed

The process writes a version to a file and offers it. The service applies it (feeds/), and says
what became of it: only then is it the last good version, which the next start begins with.
"""
