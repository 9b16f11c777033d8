"""Tests of status/."""
