"""The formats of lists of rules.

lines.py       a line each: targets, cidr, hosts
adblock.py     AdBlock syntax
answers.py     settings of DNS servers that block names
dnsmasq.py     those of dnsmasq
unbound.py     those of Unbound
exceptions.py  what a list excepts from the zones that it blocks
rpz.py         response policy zones
hidden.py      which names of such a zone its wildcards do not match
zonefile.py    the records of a zone file
"""
