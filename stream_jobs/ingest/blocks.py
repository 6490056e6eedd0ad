"""What readers of files hand on: some thousand records as columns, and the bounds they keep.

Guarantee: a file is read forwards in blocks whose memory is bounded by `Limits`, however large the file is or
expands to. Every record in the file is one row of one block, in the file's order, readable or not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from infra.errors import DeliveryError
from infra.settings import IngestSettings

ORIGINAL_CHARS_MAX = 4_000
"""A refused record is kept up to this many characters, so that a file full of them stays bounded."""

BLOCK_BYTES = 4 * 2**20
"""Bytes of a file that are parsed at once."""


class ByteStream(Protocol):
    """What readers read from; blocks until at least one byte is there or the end is reached."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that a file must keep.

    Attributes:
        chunk_rows: Most records in a block.
        file_bytes_max: Largest file as it came.
        expanded_bytes_max: Most bytes a compressed file expands to.
        expansion_max: Most bytes that one byte of a compressed file expands to.
        record_bytes_max: Largest single record.
        depth_max: Deepest nesting of XML elements (the root counts) or JSON values.
        text_chars_max: Longest id or name.
    """

    chunk_rows: int
    file_bytes_max: int
    expanded_bytes_max: int
    expansion_max: int
    record_bytes_max: int
    depth_max: int
    text_chars_max: int

    @classmethod
    def of(cls, settings: IngestSettings) -> "Limits":
        """The bounds that stand in the settings."""
        return cls(
            chunk_rows=settings.chunk_rows,
            file_bytes_max=settings.file_bytes_max,
            expanded_bytes_max=settings.expanded_bytes_max,
            expansion_max=settings.expansion_max,
            record_bytes_max=settings.record_bytes_max,
            depth_max=settings.depth_max,
            text_chars_max=settings.text_chars_max,
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records of a file.

    Attributes:
        columns: The fields that the file has, shape `(n_rows, n_fields)`; text as it stands in the file, or
            typed where the format has types. A row with a defect holds nulls.
        defects: What is wrong with the record's form, in words, shape `(n_rows,)`; null when nothing is.
        originals: Gives the text of the rows asked for, as delivered; to be called before the next block is
            taken, because what it looks at is given up then.
    """

    columns: pl.DataFrame
    defects: pl.Series
    originals: Callable[[Sequence[int]], list[str]]

    @property
    def rows(self) -> int:
        """Number of records."""
        return len(self.defects)


def cut(text: str) -> str:
    """An original within its bound; what is left out shows as an ellipsis."""
    return text if len(text) <= ORIGINAL_CHARS_MAX else text[: ORIGINAL_CHARS_MAX - 1] + "…"


def quoted(text: str, chars_max: int = 60) -> str:
    """A found text as it stands in a message: in quotes and not too long."""
    shown = text if len(text) <= chars_max else text[: chars_max - 1] + "…"
    return f"'{shown}'"


def check_fields(found: Sequence[str], required: Sequence[str], what: str) -> None:
    """Look whether a file's own list of fields can be what its content needs.

    Raises:
        DeliveryError: A required field is missing, or a field is named twice.
    """
    missing = [name for name in required if name not in found]
    if missing:
        named = ", ".join(quoted(name, 40) for name in found[:20]) or "none"
        raise DeliveryError(
            f"{what}: expected the fields {', '.join(required)}; missing {', '.join(missing)}; found {named}"
        )
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise DeliveryError(f"{what}: expected each field once; found {', '.join(twice)} more than once")
