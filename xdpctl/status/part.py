"""The protocol of a part of the service, which runs until the service stops.

Owns only the protocol. service/start.py lists the parts in order. The observer asks them for
warnings and failures, a reload gives them the settings, service/tasks.py runs them. Does not own
any part. Used by the parts in service/ and feeds/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.settings import Settings


class ServicePart(Protocol):
    """A part of the service.

    Warnings and failures are sentences. They are read on the thread that filters belong to,
    so a part replaces a sequence as a whole and never changes one in place.
    """

    @property
    def name(self) -> str:
        """Name of the part's task."""

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences for an operator; the service is ready in spite of them."""

    @property
    def failures(self) -> Sequence[str]:
        """Why the service is not ready."""

    def reload(self, settings: Settings) -> None:
        """Use settings that are in force now. Called on the loop; does not fail."""

    async def run(self) -> None:
        """Work until cancelled. An error that is not handled here ends the service."""
