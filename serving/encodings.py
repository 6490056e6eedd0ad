"""Which encoding an answer is sent in, and bytes packed so: `Accept-Encoding` and `Content-Encoding` of RFC 9110.

Guarantee: an answer is packed only when the caller says that it can unpack it; what is packed piece by piece holds no
more than a piece in memory.
"""

import io
from collections.abc import Iterable, Iterator
from enum import StrEnum

import pyarrow as pa

BYTES_MIN = 1_024
"""Smaller answers are sent as they are."""

HEADER_CHARS_MAX = 1_000


class Encoding(StrEnum):
    """How an answer can be packed, the preferred first."""

    ZSTD = "zstd"
    GZIP = "gzip"


def accepted(header: str | None) -> Encoding | None:
    """The encoding that a caller prefers.

    Args:
        header: `Accept-Encoding`; None or empty means none.

    Returns:
        None when the answer shall be sent as it is.
    """
    if not header:
        return None
    weights: dict[str, float] = {}
    for part in header[:HEADER_CHARS_MAX].lower().split(","):
        name, _, parameter = part.partition(";")
        key, _, value = parameter.partition("=")
        try:
            weights[name.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    offered = {one: weights.get(one, weights.get("*", 0.0)) for one in Encoding}
    best = max(offered, key=lambda one: offered[one])
    return best if offered[best] and offered[best] >= weights.get("identity", 0.0) else None


def packed(body: bytes, encoding: Encoding) -> bytes:
    """A whole answer, packed."""
    return b"".join(packed_pieces([body], encoding))


def packed_pieces(pieces: Iterable[bytes], encoding: Encoding | None) -> Iterator[bytes]:
    """The pieces of an answer, packed as they come; as they are without an encoding."""
    if encoding is None:
        yield from pieces
        return
    sink = Sink()
    with pa.CompressedOutputStream(pa.PythonFile(sink, "w"), encoding.value) as stream:
        for piece in pieces:
            stream.write(piece)
            if taken := sink.taken():
                yield taken
    yield sink.taken()


class Sink(io.RawIOBase):
    """What a writer has written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []
        self._written_bytes = 0

    def tell(self) -> int:
        """Bytes written so far."""
        return self._written_bytes

    def writable(self) -> bool:
        """A sink can be written to."""
        return True

    def write(self, data: object) -> int:
        """Hold some bytes."""
        piece = bytes(data)  # type: ignore[call-overload]
        self._held.append(piece)
        self._written_bytes += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        """What was written, which is then held no longer."""
        found = b"".join(self._held)
        self._held.clear()
        return found
