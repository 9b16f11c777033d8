"""Tests: one package, so that tests share fakes, packet tables and the lab."""
