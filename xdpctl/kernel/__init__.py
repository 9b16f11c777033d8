"""The seam to the kernel: only this package makes kernel calls for maps, programs and interfaces.

    bpf/           maps, programs, links and pins
    net/           network interfaces and sockets
    bytecode.py    a compiled program and the maps it refers to
    failure.py     errno and missing privileges as one sentence
    paths.py       paths that other users can change: opened once, then used by descriptor
    provenance.py  whether another user could have redirected a path

net/ imports bpf/, never the other way; both import the rest.
"""
