"""`python -m xdpctl`: the same program as the `xdpctl` command."""

from __future__ import annotations

import sys

from xdpctl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
