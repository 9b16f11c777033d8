"""The text of a scrape, in the format that the client asks for.

prometheus_client can write it too, in a module that brings three HTTP servers and a client, which
take 1.5 MB. Owns the choice of the format and the writing of what our families have: samples of
numbers, without time stamps and exemplars. Does not own the families (metrics.py; of this process,
`process_*`, prometheus_client). Called by http/.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample

_TEXT, _OPEN = "text/plain", "application/openmetrics-text"
_CONTENT_TYPES = {
    _TEXT: f"{_TEXT}; version=0.0.4; charset=utf-8",
    _OPEN: f"{_OPEN}; version=1.0.0; charset=utf-8",
}
_TEXT_ENDINGS = {"counter": "_total", "info": "_info"}
"""What the text format adds to the name of a family; OpenMetrics only to those of its samples."""

_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_IN_QUOTES = _IN_HELP | str.maketrans({'"': r"\""})


class Exposition:
    """What answers a scrape."""

    def __init__(self, collector: Collector) -> None:
        self._collectors = (collector, ProcessCollector(registry=None))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return (body, content type) for the Accept header of a request."""
        wanted = preferred(accept)
        families = chain.from_iterable(each.collect() for each in self._collectors)
        text = "".join(_open_lines(families) if wanted == _OPEN else _text_lines(families))
        return text.encode(), _CONTENT_TYPES[wanted]


def _text_lines(families: Iterator[Metric]) -> Iterator[str]:
    """Yield the lines of the text format."""
    for family in families:
        name = family.name + _TEXT_ENDINGS.get(family.type, "")
        kind = "gauge" if family.type == "info" else family.type
        yield f"# HELP {name} {family.documentation.translate(_IN_HELP)}\n"
        yield f"# TYPE {name} {kind}\n"
        yield from map(_line, family.samples)


def _open_lines(families: Iterator[Metric]) -> Iterator[str]:
    """Yield the lines of OpenMetrics."""
    for family in families:
        yield f"# HELP {family.name} {family.documentation.translate(_IN_QUOTES)}\n"
        yield f"# TYPE {family.name} {family.type}\n"
        yield from map(_line, family.samples)
    yield "# EOF\n"


def _line(sample: Sample) -> str:
    labels = ",".join(
        f'{name}="{value.translate(_IN_QUOTES)}"' for name, value in sorted(sample.labels.items())
    )
    name = f"{sample.name}{{{labels}}}" if labels else sample.name
    return f"{name} {floatToGoString(sample.value)}\n"  # type: ignore[no-untyped-call]


def preferred(accept: str) -> str:
    """Return the media type to answer an Accept header with (RFC 9110, 12.5.1).

    Of equal weights the first named; text where the header has no format that we have.
    """
    ranges: list[tuple[str, float]] = []
    for part in accept.split(","):
        media, *parameters = (word.strip() for word in part.lower().split(";"))
        weights = [word[2:] for word in parameters if word[:2] == "q="]
        ranges.append((media, _weight(weights[0]) if weights else 1.0))

    def weight_of(offer: str) -> float:
        for pattern in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
            if found := [weight for media, weight in ranges if media == pattern]:
                return max(found)
        return 0.0

    order = [media for media, weight in ranges if media in {_TEXT, _OPEN} and weight]
    offers = [*order, *(offer for offer in (_TEXT, _OPEN) if offer not in order)]
    chosen = max(offers, key=weight_of)
    return chosen if weight_of(chosen) else _TEXT


def _weight(text: str) -> float:
    """Return the number of a `q=`; 0 to 1, and 1 for what is not a number."""
    try:
        found = float(text)
    except ValueError:
        return 1.0
    return min(max(found, 0.0), 1.0) if found == found else 1.0  # noqa: PLR0124 - not a number
