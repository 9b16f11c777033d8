"""The signals that the service acts on: one list for who holds them back, hears or ignores them."""

from __future__ import annotations

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP)
"""By default each would end a process at once, without its sentence."""
