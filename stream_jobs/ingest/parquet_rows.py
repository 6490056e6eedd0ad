"""Parquet files as blocks of columns, batch by batch.

Guarantee: only known fields are read, and memory follows the batch: texts are read as dictionaries, in
which a long text that stands in every row is there once, and are cut just above the longest one allowed.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.errors import DeliveryError, HeadraceError
from stream_jobs.ingest.blocks import Block, Limits, check_fields, cut
from stream_jobs.ingest.contents import Content

COLUMN_CHUNK_BYTES_MAX = 2**30
"""Most bytes that one column of a row group may expand to; writers keep to some ten million."""


def read_parquet(file: BinaryIO, content: Content, limits: Limits) -> Iterator[Block]:
    """Read a Parquet file.

    Args:
        file: The file; must be seekable.
        content: What it holds.
        limits: Bounds.

    Raises:
        DeliveryError: The file is no Parquet or damaged, lacks a required field, has one of a type that
            cannot be meant, or expands beyond the limits.
    """
    try:
        source = pq.ParquetFile(file)
        known = _known(source.schema_arrow, content)
        _check_sizes(source.metadata, known, limits)
        texts = [name for name in known if _is_text(source.schema_arrow.field(name).type)]
        source = pq.ParquetFile(file, read_dictionary=texts)
        for batch in source.iter_batches(batch_size=limits.chunk_rows, columns=known, use_threads=False):
            yield _block(batch, limits)
    except HeadraceError:
        raise
    # A name in the footer may be damaged beyond being text.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DeliveryError(
            f"expected a whole Parquet file; found one that cannot be read: {error}"
        ) from error


def _known(schema: pa.Schema, content: Content) -> list[str]:
    check_fields(schema.names, content.required, "Parquet columns")
    known = [name for name in schema.names if name in content.field_names]
    for name in known:
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not _is_simple(kind):
            raise DeliveryError(
                f"Parquet column {name}: expected text, numbers, times, dates or booleans; found {kind}"
            )
    return known


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_simple(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        _is_text(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        or types.is_boolean(kind) or types.is_timestamp(kind) or types.is_date(kind) or types.is_null(kind)
    )  # fmt: skip


def _check_sizes(metadata: pq.FileMetaData, known: Sequence[str], limits: Limits) -> None:
    total = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            column = row_group.column(number)
            if column.path_in_schema not in known:
                continue
            if column.total_uncompressed_size > COLUMN_CHUNK_BYTES_MAX:
                raise DeliveryError(
                    f"Parquet column {column.path_in_schema}, row group {group}: expected at most "
                    f"{COLUMN_CHUNK_BYTES_MAX} bytes; found {column.total_uncompressed_size}. "
                    "Write smaller row groups"
                )
            total += column.total_uncompressed_size
    if total > limits.expanded_bytes_max:
        raise DeliveryError(
            f"expected a file that expands to at most {limits.expanded_bytes_max} bytes; found {total}"
        )


def _block(batch: pa.RecordBatch, limits: Limits) -> Block:
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if isinstance(column, pa.DictionaryArray) and _is_text(column.type.value_type):
            # One character more than is allowed stays, so that the value is found too long.
            shorter = pc.utf8_slice_codeunits(column.dictionary, 0, limits.text_chars_max + 1)
            column = pa.DictionaryArray.from_arrays(column.indices, shorter).cast(pa.large_string())
        columns[name] = column
    frame = pl.DataFrame(pl.from_arrow(pa.table(columns)))

    def original(rows: Sequence[int]) -> list[str]:
        found = frame[list(rows)].select(pl.struct(pl.all()).struct.json_encode()).to_series()
        return [cut(text) for text in found.to_list()]

    return Block(frame, pl.Series("defect", [None] * frame.height, dtype=pl.String), original)
