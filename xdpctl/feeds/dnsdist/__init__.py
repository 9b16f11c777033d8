"""dnsdist's dynamic blocks: read from its web server, and kept as claims (`[[dnsdist]]`).

    client.py    asks the web server
    document.py  reads its answer entry by entry
    blocks.py    what an entry means to the filter
    ledger.py    which claims are wanted, and how long they are held
    bridge.py    a part of the service: asks, compares, holds
    views.py     how it is now, for status and metrics

A dynamic block of a subnet or a suffix never reaches the shared maps, so dnsdist does that work
itself. Read from it, it is a claim of origin `dnsdist-dynamic` on the card. A block on the card
hides the flood from dnsdist, which then ends the block: `hold` keeps it while packets come.
"""
