"""Tests of zones/: hashes, tables of names, counting, images, and following a zone."""
