"""The filter on an interface.

filter.py        load, attach, swap without a gap, detach, count
attachment.py    in which mode, and in place of what
native_retry.py  when native mode is tried again
location.py      where the card is: renamed, moved, gone
own_pins.py      which programs and pins are ours
own_maps.py      our own maps by their scope
limit_maps.py    the maps of the limits, taken over or made
tcp_proof.py     the program that sees the connections of all processes
lock.py          one service an interface
rollout.py       a configuration's program: made, tested, put on every interface
dry_run.py       what the program decides about one packet, uncounted
view.py          a filter as values for others
"""
