"""Tests of the seam on a real kernel; as root."""
