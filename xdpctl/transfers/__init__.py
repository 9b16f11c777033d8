"""Zone transfers: what a primary knows of a zone, by SOA, AXFR and IXFR over TCP or TLS, with TSIG.

    client.py     asks a primary: its serial, and a transfer record by record
    primaries.py  several primaries of a zone: the first one that has something to give
    turns.py      which primaries are transferred from at the same time
    stream.py     which records a transfer adds and removes, and when it is whole
    messages.py   queries and answers in wire form
    records.py    the records of a message, in wire form
    signing.py    signs queries and checks the signatures of answers (TSIG)
    key_file.py   a key as tsig-keygen writes it
    serials.py    serial numbers that wrap around
    channel.py    a TCP connection whose time and size are bounded
    tls.py        such a connection over TLS, to a primary whose name is checked (XoT)
    notify.py     what a primary sends when a zone has changed (NOTIFY)

A transfer is untrusted until it has ended without an error: the last message's signature covers
those before it. A caller collects what it is given and applies it afterwards.
"""
