"""Tests of limits/."""
