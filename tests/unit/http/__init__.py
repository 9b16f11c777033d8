"""Tests of http/."""
