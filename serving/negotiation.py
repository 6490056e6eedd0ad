"""Which of the formats that an address offers the caller wants: `Accept` of RFC 9110, or `?format=`.

Guarantee: a pure function of the header; the most specific range decides each type's weight, and among equal
weights the address's own order does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from serving.problems import NOT_ACCEPTABLE, Problem

HEADER_CHARS_MAX = 1_000
"""Longest `Accept` that is read, characters."""


class Format(StrEnum):
    """A format of tables."""

    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


MEDIA_TYPES: dict[Format, str] = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}
FORMATS: dict[str, Any] = {media_type: {} for media_type in MEDIA_TYPES.values()}
"""What the reference says of an address that answers with any of them."""


@dataclass(frozen=True, slots=True)
class Range:
    """One media range of an `Accept` header, such as `text/*;q=0.5`."""

    main: str
    sub: str
    weight: float

    def specificity(self, main: str, sub: str) -> int:
        """How closely the range names a type: 3 exactly, 2 by its main type, 1 by `*/*`, 0 not at all."""
        if (self.main, self.sub) == (main, sub):
            return 3
        if self.sub != "*":
            return 0
        return 2 if self.main == main else int(self.main == "*")


def parse_accept(header: str) -> list[Range]:
    """The ranges of an `Accept` header; what cannot be read is left out."""
    ranges = []
    for part in header[:HEADER_CHARS_MAX].split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        main, slash, sub = name.lower().partition("/")
        if not (main and slash and sub):
            continue
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    weight = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    weight = 0.0
        ranges.append(Range(main, sub, weight))
    return ranges


def _weight(media_type: str, ranges: Sequence[Range]) -> float:
    main, _, sub = media_type.partition("/")
    closest = max(((r.specificity(main, sub), r.weight) for r in ranges), default=(0, 0.0))
    return closest[1] if closest[0] else 0.0


def choose(accept: str | None, asked: Format | None, offered: Sequence[Format]) -> Format:
    """The format to answer with.

    Args:
        accept: The header `Accept`; None or empty means anything.
        asked: The parameter `format`, which wins over the header.
        offered: What the address can make, the preferred first.

    Raises:
        Problem: 406; nothing offered is acceptable.
    """
    if asked is not None:
        if asked in offered:
            return asked
    elif not accept or not accept.strip():
        return offered[0]
    else:
        ranges = parse_accept(accept)
        weights = [_weight(MEDIA_TYPES[offer], ranges) for offer in offered]
        best = max(weights)
        if best > 0:
            return offered[weights.index(best)]
    names = ", ".join(f"{MEDIA_TYPES[offer]} (format={offer.value})" for offer in offered)
    raise Problem(NOT_ACCEPTABLE, f"This address answers with {names}.")
