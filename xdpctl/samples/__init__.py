"""Samples: what the filter saw, one packet of many, passed and taken ones alike.

sample.py     one packet, and how many it stands for
hub.py        gives samples to whoever looks; nothing is sampled while nobody does
sampler.py    how many samples the filter takes
reader.py     the filter's records as samples
addresses.py  truncates the addresses of clients
"""
