"""`python -m xdpctl`: the same program as the `xdpctl` command.

Owns nothing. Does not own the entry point (cli/main.py), which it calls. Run by the interpreter.
"""

from __future__ import annotations

import sys

from xdpctl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
