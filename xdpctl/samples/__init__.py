"""Samples: what the filter saw, one packet of many, passed and taken ones alike.

sample.py  one packet, and how many it stands for
hub.py     gives samples to whoever looks; nothing is sampled while nobody does
"""
