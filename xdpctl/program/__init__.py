"""The XDP program of a configuration.

config.py       the settings that are compiled in
compiler.py     C to bytecode, in a process of its own
bcc_process.py  that process; the one importer of bcc
cache.py        bytecode kept for the next start
datagram.py     a DNS query as a frame
selftest.py     tests the program before it is attached
loader/         the process that may load it
"""
