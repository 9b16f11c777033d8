"""What the application carries to its handlers, and the keys under which it does.

Owns the keys alone; what they hold is service/operations.py's and status/metrics.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.http.transport.keys import AppKey

if TYPE_CHECKING:
    from xdpctl.http.api.backend import Backend
    from xdpctl.status.metrics import Exposition


BACKEND: AppKey[Backend] = AppKey("backend")
"""The service behind the API."""

EXPOSITION: AppKey[Exposition] = AppKey("exposition")
"""Its metrics."""
