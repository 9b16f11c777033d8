"""Tests of samples/."""
