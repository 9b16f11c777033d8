"""What a target is in a zone, record by record, and as text that the state keeps.

Each record of a response policy zone is published, remembered and removed by itself; a zone rule
with its own name is two. Owns the text of a record: the target that it means. Does not own the
spelling of owners (formats/owners.py). Called by publisher.py and claims.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.feeds.formats.owners import STAR, name_of, owners_of
from xdpctl.feeds.formats.policies import CLIENT_IP
from xdpctl.rules import parse_target
from xdpctl.rules.targets import BELOW_MARK

if TYPE_CHECKING:
    from xdpctl.feeds.formats.owners import Owner
    from xdpctl.rules import Name, Target


def records_of(target: Target, zone: Name) -> dict[str, Owner]:
    """Return the records that mean a target: the text of each, and its owner.

    Raises:
        InexpressibleError: no record means it.
    """
    return {_text_of(owner, target): owner for owner in owners_of(target, zone)}


def owner_of(text: str, zone: Name) -> Owner:
    """Return the owner of a record by its text."""
    (owner,) = owners_of(parse_target(text), zone)
    return owner


def _text_of(owner: Owner, target: Target) -> str:
    if owner[-1] == CLIENT_IP:
        text = str(target)
        longest = target.max_prefixlen  # type: ignore[union-attr]  # it is an address or prefix
        return text.removesuffix(f"/{longest}")
    if owner == (STAR,):
        return BELOW_MARK
    if owner[0] == STAR:
        return BELOW_MARK + name_of(owner[1:]).to_text()
    return name_of(owner).to_text()
