"""Rows to Parquet and back: how every file of the lake is written.

Guarantee: a file's bytes follow from its rows, its table and its notes alone. Rows are sorted in the table's
order, in zstd row groups small enough to be skipped by their statistics; every column carries its description
and unit, and the file carries the notes of its writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError
from schemas.lake_tables import LakeTable, check_frame

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

ROW_GROUP_ROWS = 131_072
NOTE_PREFIX = "headrace."


def parquet_bytes(frame: pl.DataFrame, table: LakeTable, notes: Mapping[str, str] | None = None) -> bytes:
    """A Parquet file of a table.

    Args:
        frame: The table's columns, except those that are folders; rows in any order.
        table: The table.
        notes: Key and value pairs for the footer; each key gets the prefix `headrace.`.

    Raises:
        FaultError: The frame does not fit the table.
    """
    rows = check_frame(frame, table).sort(table.order, nulls_last=True)
    metadata = {NOTE_PREFIX + name: value for name, value in {"table": table.name, **(notes or {})}.items()}
    schema = table.file_schema.with_metadata(metadata)
    arrow = arrow_table(rows, schema)
    sink = pa.BufferOutputStream()
    pq.write_table(
        arrow,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        write_statistics=True,
        use_dictionary=True,
        sorting_columns=pq.SortingColumn.from_ordering(schema, [(name, "ascending") for name in table.order]),
    )
    return sink.getvalue().to_pybytes()


def arrow_table(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table of exactly this schema, with the metadata of its fields."""
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def read_metadata(store: BlobStore, path: str) -> FileMetaData:
    """The footer of a Parquet object; reads some kilobytes of it.

    Raises:
        NotFoundError: There is no such object.
        CorruptLakeError: The object is no Parquet file.
    """
    with store.open(path) as file:
        try:
            return pq.read_metadata(file)
        except pa.ArrowInvalid as error:
            raise CorruptLakeError(
                f"{path} in {store.location}: expected a Parquet file: {error}; restore it from a backup"
            ) from error


def notes_of(metadata: FileMetaData) -> dict[str, str]:
    """What the writer noted in the footer, without the prefix."""
    pairs = metadata.metadata or {}
    prefix = NOTE_PREFIX.encode()
    return {
        key[len(prefix) :].decode(): value.decode() for key, value in pairs.items() if key.startswith(prefix)
    }
