"""What is said of a version of a list that is not used: what helps, and which rules stay.

Owns these parts of the sentence, for files and zones alike, and the requests that wait for a look.
Does not own the sentence, or what makes a version broken. Called by files.py and zone_lists.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.errors import EmptyListError, ShrunkListError, WideListError

if TYPE_CHECKING:
    import asyncio

    from xdpctl.errors import XdpctlError
    from xdpctl.feeds.versions import GoodVersion
    from xdpctl.settings import ListSettings, ZoneListSettings


def what_helps(error: XdpctlError, settings: ListSettings | ZoneListSettings) -> str:
    """Return what helps against an error, as the end of its sentence."""
    accept = f"`xdpctl lists accept {settings.name}` takes it over"
    if isinstance(error, ShrunkListError):
        return (
            f", so that more than max-shrink ({round(100 * settings.max_shrink)}%) are gone;"
            f" {accept}"
        )
    return f"; {accept}" if isinstance(error, EmptyListError | WideListError) else ""


def what_stays(error: XdpctlError, good: GoodVersion | None, parts: str) -> str:
    """Return which rules are in force after an error; `parts` is what a version consists of."""
    done = getattr(error, "done", 0)
    if done:
        return f"{done} of its {parts} went in and the rest is missing"
    if good is None:
        return "no version of it has been used so far"
    return "the rules of its last good version stay in force"


def answer_all(waiting: list[asyncio.Future[None]]) -> None:
    """Let the requests go on that wait for a look."""
    for future in waiting:
        if not future.done():
            future.set_result(None)
