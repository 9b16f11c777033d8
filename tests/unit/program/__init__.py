"""Tests of program/."""
