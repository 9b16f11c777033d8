"""Tests of transfers/: records, streams, signatures, and primaries that misbehave."""
