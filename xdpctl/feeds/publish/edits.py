"""One change of a record, as an update says it.

Owns the value and how many fit into a message, apart from update.py, which loads dnspython.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdpctl.abi import RuleAction
    from xdpctl.feeds.formats.owners import Owner

EDITS_MAX = 100
"""Changes of one message: with the longest names it fits into 65,535 octets."""


@dataclass(frozen=True, slots=True)
class RecordEdit:
    """A change of the record of one owner.

    Attributes:
        owner: its name in the zone.
        before: the action of the record of ours that is there; None: the name is not in use.
        after: the action that is wanted; None: no record.
        ttl: seconds, of the record that is wanted.
    """

    owner: Owner
    before: RuleAction | None
    after: RuleAction | None
    ttl: int = 0
