"""Tests of maps/."""
