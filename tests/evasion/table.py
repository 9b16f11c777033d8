"""All shapes, the plain one first."""

from __future__ import annotations

from tests.evasion import chains, fragments, headers, messages, mixtures, tags

SHAPES = (
    *messages.SHAPES,
    *headers.SHAPES,
    *tags.SHAPES,
    *fragments.SHAPES,
    *chains.SHAPES,
    *mixtures.SHAPES,
)
