"""Packets for the tests: builders of frames and messages, and the table of cases.

`table.CASES` is shared/PACKETS.md as data; every engine in tests/engines/ is held
to it. Nothing here imports the C side or the oracle: what is expected is written
down, not computed by what is tested.
"""
