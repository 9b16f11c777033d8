"""Tests that need neither root nor a network."""
