"""Hypothesis without deadlines: two busy cores are no fault of the code."""

from hypothesis import settings

settings.register_profile("xdpctl", deadline=None)
settings.load_profile("xdpctl")
