"""The keys under which the application stores what the API's handlers need.

Owns only the keys; the values come from service/operations.py and status/metrics.py. Does not own
transport/keys.py. Used by http/app.py, handlers.py and uploads.py.
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
