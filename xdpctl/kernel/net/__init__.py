"""Network interfaces and sockets of this namespace.

interfaces.py  which there are, what is attached, what changes
rtnetlink.py   one question over an rtnetlink socket and its whole answer
codecs.py      what netlink messages are made of: heads, attributes, links
netdev.py      whether a driver can run XDP
ethtool.py     channels, features and driver
sockets.py     who listens, from /proc/net
"""
