"""Foreign Debian suites for the tests: their packages, unpacked beside the machine's own."""
