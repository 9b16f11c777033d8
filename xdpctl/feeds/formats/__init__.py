"""The formats of lists of rules.

lines.py       a line each: targets, cidr, first column, hosts
addresses.py   addresses in any spelling, and which of them lead nowhere
account.py     what a reading left out, and could not read
ndjson.py      a JSON object a line, as Spamhaus has them
adblock.py     AdBlock syntax
answers.py     settings of DNS servers that block names
dnsmasq.py     those of dnsmasq
unbound.py     those of Unbound
exceptions.py  what a list excepts from the zones that it blocks
rpz.py         response policy zones
owners.py      the names of such a zone's records
policy_zone.py  writes such a zone
policies.py    which triggers and policies of such a zone a rule can express
hidden.py      which names of such a zone its wildcards do not match
zonefile.py    the records of a zone file
"""
