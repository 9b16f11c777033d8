"""Maps that other programs read or fill: the DNS server's, and the XDP program's index.

shared.py            the maps shared with the DNS server
holders.py           the processes that hold a shared map
aging.py             entries of dnsdist's that are older than its process
xsk_destinations.py  AF_XDP destinations that come and go
name_index.py        the index that the program reads before it looks anything up
name_follower.py     keeps the index up to date
"""
