"""The formats of lists of rules.

lines.py     a line each: targets, cidr, hosts
rpz.py       response policy zones
zonefile.py  the records of a zone file
"""
