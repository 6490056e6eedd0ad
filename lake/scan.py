"""Lazy reads of Parquet objects with Polars, their errors wrapped.

Guarantee: only the columns and row groups that are asked for are read, and a file that cannot be read comes
out as `CorruptLakeError` or `UnavailableError` with its name.
"""

from collections.abc import Sequence

import polars as pl
from polars.exceptions import ColumnNotFoundError, ComputeError, SchemaError

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, UnavailableError
from schemas.lake_tables import LakeTable, polars_schema

DAY_FOLDERS = ("sold_on", "arrived_on")


def scan(store: BlobStore, paths: Sequence[str], table: LakeTable) -> pl.LazyFrame:
    """The rows of some files of one table, in the order of the files and of the rows in each.

    Args:
        store: The blob store.
        paths: Paths of the objects; may be empty.
        table: The table that they are of.

    Returns:
        The columns that stand in the files, and the days that are folders: `sold_on` or `arrived_on`.
    """
    columns = polars_schema(table.file_schema)
    days = {name: pl.Date() for name in DAY_FOLDERS if name in table.partitioning}
    if not paths:
        return pl.DataFrame(schema={**columns, **days}).lazy()
    rows = pl.scan_parquet(
        [store.uri(path) for path in paths],
        schema=columns,
        storage_options=store.storage_options or None,
        hive_partitioning=bool(days),
        glob=False,
        missing_columns="insert" if table.added else "raise",
    )
    return rows.select(*columns, *(pl.col(name).cast(pl.Date) for name in days))


def collect(rows: pl.LazyFrame, store: BlobStore) -> pl.DataFrame:
    """Run a lazy read.

    Raises:
        CorruptLakeError: A file is gone, is no Parquet file, or has other columns than its table.
        UnavailableError: The store does not answer.
    """
    try:
        return rows.collect()
    except (ComputeError, SchemaError, ColumnNotFoundError, FileNotFoundError) as error:
        raise CorruptLakeError(
            f"a file in {store.location} is not what the lake wrote: {error}; `headrace lake verify` tells of each"
        ) from error
    except OSError as error:
        raise UnavailableError(f"{store.location} did not answer a read: {error}") from error
