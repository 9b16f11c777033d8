"""Tests of the tools of tests/: engines, benchmarks, soak."""
