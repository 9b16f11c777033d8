"""Tests of filter/."""
