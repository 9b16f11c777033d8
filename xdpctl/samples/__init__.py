"""Samples: what the filter saw, one packet of many, passed and taken ones alike.

sample.py     one packet, and how many it stands for
hub.py        gives samples to whoever looks; nothing is sampled while nobody does
sampler.py    how many samples the filter takes
reader.py     the filter's records as samples
addresses.py  truncates the addresses of clients
packets.py    who asked what: the headers and question of a frame
selection.py  which samples are wanted
talkers.py    who sends most, estimated from samples
pcap.py       samples as pcapng
policy.py     what a rule is called in a policy zone
dnstap.py     samples as dnstap messages in frame streams
outputs.py    where those go: files and receivers
"""
