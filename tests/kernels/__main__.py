"""`make test-kernels`: does every configuration load on every kernel?"""

from __future__ import annotations

import sys

from tests.kernels.kernel import SUITES
from tests.kernels.verdict import verdicts


def main(wanted: list[str]) -> int:
    """Ask the kernels of these series (all of them when none is named); 0 when all accept."""
    refused = 0
    for series in wanted or SUITES:
        for verdict in verdicts(series):
            word = "ok" if verdict.loaded else f"REFUSED ({verdict.error})"
            sys.stdout.write(
                f"{verdict.kernel:30} {verdict.name:12} {verdict.instructions:6} instructions"
                f" {verdict.processed:8} processed  {word}\n"
            )
            sys.stdout.write("".join(f"    {line}\n" for line in verdict.log))
            sys.stdout.flush()
            refused += not verdict.loaded
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
