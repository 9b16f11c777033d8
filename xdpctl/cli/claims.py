"""Sentences about claims: what changed, which one is in force instead, who still has one.

Owns these sentences of `block`, `allow` and `unblock`. Pure: the API's documents in, lines out.
Does not own the documents (http/api/documents.py). Called by cli/verbs/block.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xdpctl.cli.render import age, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SENTENCES_MAX = 10
"""Sentences about the targets of one request; then their number."""

_IS = {"pass": "allowed", "drop": "dropped", "truncate": "truncated"}


def about_made(rules: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each rule that changed, or that is not the one in force."""
    yield from _at_most(
        [sentence for rule in rules for sentence in _about_one(rule)], "more rules like these"
    )


def about_left(left: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each target that others still have a claim on."""
    yield from _at_most([_still(each) for each in left], "more targets that others still claim")


def is_as_it_was(rule: dict[str, Any]) -> bool:
    """Return whether a rule that was asked for again says what it said before."""
    was, claim = rule.get("was"), rule["claim"]
    return was is not None and all(
        was[name] == claim[name] for name in ("action", "expires_in", "reason")
    )


def _at_most(sentences: Sequence[str], others: str) -> Iterator[str]:
    yield from sentences[:SENTENCES_MAX]
    if len(sentences) > SENTENCES_MAX:
        yield f"and {len(sentences) - SENTENCES_MAX} {others}"


def _about_one(rule: dict[str, Any]) -> Iterator[str]:
    target, claim = _target(rule), rule["claim"]
    if (was := rule.get("was")) is not None:
        yield f"{target}: {_change(was, claim)}"
    if (other := rule.get("in_force")) is not None:
        yield (
            f"{target} stays {_IS.get(other['action'], other['action'])}: the claim of"
            f" {_claim(other)} is in force, that of {claim['origin']} waits"
        )
    elif (displaced := rule.get("displaced")) is not None:
        yield f"{target}: the claim of {_claim(displaced)} waits now"


def _change(was: dict[str, Any], claim: dict[str, Any]) -> str:
    """Return what is different about a claim, or what it still says."""
    changes = []
    if was["action"] != claim["action"]:
        changes.append(f"{claim['action']} (was {was['action']})")
    if was["expires_in"] != claim["expires_in"]:
        changes.append(f"{_end(claim)} (was {_end(was)})")
    if was["reason"] != claim["reason"]:
        changes.append(f"{_reason(claim)} (was {_reason(was)})")
    if changes:
        return f"now {listed(changes)}"
    said = [claim["action"], _end(claim), *([_reason(claim)] if claim["reason"] else [])]
    return f"as it was: {', '.join(said)}"


def _end(claim: dict[str, Any]) -> str:
    left = claim["expires_in"]
    return "without end" if left is None else f"ends in {age(left)}"


def _reason(claim: dict[str, Any]) -> str:
    return f"reason {claim['reason']!r}" if claim["reason"] else "no reason"


def _still(left: dict[str, Any]) -> str:
    claims = [_claim(claim, in_force=claim["in_force"]) for claim in left["claims"]]
    return f"{_target(left)} is still claimed by {listed(claims)}"


def _claim(claim: dict[str, Any], *, in_force: bool = False) -> str:
    said = [claim["action"]]
    if claim["expires_in"] is not None:
        said.append(_end(claim))
    if in_force:
        said.append("in force")
    return f"{claim['origin']} ({', '.join(said)})"


def _target(rule: dict[str, Any]) -> str:
    return f"{rule['target']} (type {rule['qtype']})" if rule.get("qtype") else str(rule["target"])
