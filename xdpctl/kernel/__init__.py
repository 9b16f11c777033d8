"""The seam to the kernel: everything below it needs a kernel, nothing above it does.

    bpf/           maps, programs, links and pins
    net/           network interfaces and sockets
    bytecode.py    a compiled program and the maps it refers to
    failure.py     errno and privilege to one sentence
    paths.py       paths whose parts others may exchange: opened once, then used by descriptor
    provenance.py  whether what a path leads to is what it is meant to be

net/ imports bpf/, never the other way; both import the rest.
"""
