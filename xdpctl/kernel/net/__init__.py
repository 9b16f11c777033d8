"""Network interfaces and sockets of this namespace.

interfaces.py  which there are, what is attached, what changes
rtnetlink.py   one question over an rtnetlink socket and its whole answer
codecs.py      two of pyroute2's codecs; its one importer
netdev.py      whether a driver can run XDP
ethtool.py     channels, features and driver
sockets.py     who listens, from /proc/net
"""
