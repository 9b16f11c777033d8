"""All lists as one: files, and zones.

Owns that an operator need not know which of the two a list is. Does not keep any (files.py,
zone_lists.py). Made by service/start.py, called by service/operations.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.errors import NotFoundError
from xdpctl.rules.keys import LIST_PREFIX
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.feeds.files import ListFiles
    from xdpctl.feeds.versions import ListView
    from xdpctl.feeds.zone_lists import ZoneLists


class EveryList:
    """The lists.

    Args:
        files, zones: the keepers.
    """

    def __init__(self, files: ListFiles, zones: ZoneLists) -> None:
        self._files = files
        self._zones = zones

    def views(self) -> tuple[ListView, ...]:
        """Return how each list is now, files first. From the loop's thread."""
        return (*self._files.views(), *self._zones.views())

    @property
    def notified(self) -> Mapping[str, int]:
        """How many NOTIFY messages came, by what became of them."""
        return {result.value: count for result, count in self._zones.notified.items()}

    async def read_now(self, name: str, *, accept: bool = False) -> ListView:
        """Read a list, or ask its primaries, and return how it is then.

        Args:
            name: of the list, with or without `list:`.
            accept: take its present version also if it shrank or has no rule.

        Raises:
            NotFoundError: there is no such list.
            ListError: its present version is not used.
        """
        bare = name.removeprefix(LIST_PREFIX)
        if bare in self._zones.names():
            return await self._zones.read_now(bare, accept=accept)
        known = [view.name for view in self.views()]
        if bare not in known:
            helps = f"there are {', '.join(known)}" if known else "the settings have no [[list]]"
            raise NotFoundError(f"there is no list {shown(bare)}: {helps}")
        return await self._files.read_now(bare, accept=accept)
