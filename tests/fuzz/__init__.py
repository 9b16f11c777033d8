"""Mutated frames put before every engine: they must agree on each.

`mutate` makes frames from a tape of octets, `compare` judges them, `agree` is the
program that `make fuzz` runs; tests/kernel/test_agreement.py lets Hypothesis write
the tapes. `transfers` does the same with the messages of primaries, `make fuzz-transfers`.
"""
