"""BPF: maps, programs, links and pins, through libbpf.

syscall.py     `Bpf`, which makes and opens the others
libbpf.py      libbpf.so.1 as ctypes sees it
descriptor.py  what maps, programs and links have in common
maps.py        a map: its entries one by one and in batches
ring.py        a ring buffer, as its reader has it
batches.py     all entries of a map
keywalk.py     all keys of a hash map, again and again
kind.py        what a program is loaded as
btf.py         the type information of a program
loading.py     the one way in which a program is loaded
loader.py      who loads programs in the place of this process, as a protocol
programs.py    programs and the links that attach them
cgroups.py     the root of all control groups
bpffs.py       the BPF file system and directories for pins
pins.py        pinned maps: opened or made, and verified
"""
