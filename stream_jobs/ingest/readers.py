"""One way to read a delivered file, whatever its content, format and compression.

Guarantee: a file is read with bounded memory, and never expands beyond `Limits.expanded_bytes_max`, nor to so much more
than it is that only a bomb would. What is wrong with the file is a DeliveryError in words for the customer; an error of
the store passes through.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

import pyarrow as pa

from infra.errors import DeliveryError, HeadraceError, UnavailableError
from stream_jobs.ingest.blocks import BLOCK_BYTES, Block, ByteStream, Limits
from stream_jobs.ingest.contents import Content
from stream_jobs.ingest.csv_rows import read_csv
from stream_jobs.ingest.json_rows import read_json_lines
from stream_jobs.ingest.parquet_rows import read_parquet
from stream_jobs.ingest.xml_rows import read_xml

EXPANDED_FREELY_BYTES = 64 * 2**20
"""Up to here a file may expand by any factor: a small one costs little, and one of blanks is no attack."""

_OF_LINES_AND_TAGS = {"xml": read_xml, "csv": read_csv, "jsonl": read_json_lines}


def read_blocks(
    file: BinaryIO, content: Content, file_format: str, compression: str | None, limits: Limits,
    scratch: Path | None = None,
) -> Iterator[Block]:  # fmt: skip
    """Read a delivered file.

    Args:
        file: The file as it came, at its beginning; seekable if it is plain Parquet.
        content: What it holds.
        file_format: xml, csv, jsonl or parquet.
        compression: gzip or zstd; None when plain.
        limits: Bounds.
        scratch: Folder for the expanded copy of a compressed Parquet file, which cannot be read forwards; the
            system's own if None.

    Raises:
        DeliveryError: The file as a whole is unreadable. Blocks that were yielded before stand.
    """
    stream = expanded(file, compression, limits)
    if file_format in _OF_LINES_AND_TAGS:
        yield from _OF_LINES_AND_TAGS[file_format](stream, content, limits)
    elif file_format == "parquet" and compression is None:
        yield from read_parquet(file, content, limits)
    elif file_format == "parquet":
        with tempfile.TemporaryFile(dir=scratch) as copy:
            while piece := stream.read(BLOCK_BYTES):
                copy.write(piece)
            copy.seek(0)
            yield from read_parquet(copy, content, limits)
    else:
        raise DeliveryError(f"format: expected xml, csv, jsonl or parquet; found {file_format!r}")


def expanded(file: IO[bytes], compression: str | None, limits: Limits) -> ByteStream:
    """The file's bytes, decompressed.

    Args:
        file: The file as it came.
        compression: gzip or zstd; None when plain.
        limits: What it may expand to.
    """
    return file if compression is None else _Expanded(file, compression, limits)


class _Expanded:
    """A compressed file's bytes, counted."""

    def __init__(self, file: IO[bytes], compression: str, limits: Limits) -> None:
        self._packed = _Lent(file)
        source = pa.PythonFile(cast("io.IOBase", self._packed), mode="r")
        self._stream = pa.CompressedInputStream(source, cast("Literal['gzip', 'zstd']", compression))
        self._compression = compression
        self._limits = limits
        self._taken = 0

    def read(self, size: int = -1, /) -> bytes:
        try:
            piece = self._stream.read(BLOCK_BYTES if size < 0 else size)
        except OSError as error:
            raise DeliveryError(
                f"expected whole {self._compression} data; found a break behind {self._taken} bytes: {error}"
            ) from error
        self._taken += len(piece)
        if self._taken > self._limits.expanded_bytes_max:
            raise DeliveryError(
                f"expected a file that expands to at most {self._limits.expanded_bytes_max} bytes; found more"
            )
        if self._taken > max(EXPANDED_FREELY_BYTES, self._packed.taken * self._limits.expansion_max):
            raise DeliveryError(
                f"expected a file that expands to at most {self._limits.expansion_max} times its size; "
                f"found more behind {self._taken} bytes; send it plain, or in smaller parts"
            )
        return bytes(piece)


class _Lent:
    """A file that Arrow reads and must leave open: it is not Arrow's to close."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        piece = self._file.read(size)
        self.taken += len(piece)
        return piece

    def close(self) -> None:
        """Leave the file open."""


class _Stored(io.RawIOBase):
    """A stored file whose errors are the store's, never the file's."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        with _of_the_store():
            return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with _of_the_store():
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _of_the_store() -> Iterator[None]:
    try:
        yield
    except HeadraceError:
        raise
    except OSError as error:
        raise UnavailableError(f"reading a stored file from the lake: {error}") from error


def stored(file: BinaryIO) -> BinaryIO:
    """A file of the blob store, whose reading raises UnavailableError where the store fails.

    Readers can then take any OSError of a decompressor or of Parquet for a damaged file.
    """
    return cast("BinaryIO", _Stored(file))
