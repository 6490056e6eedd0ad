"""What lies in the lake, read as any other program would."""

from pathlib import Path

import polars as pl

from infra.blobs import open_dataset
from infra.settings import Settings


def files(settings: Settings, table: str) -> list[Path]:
    """The files of a table, by name."""
    return sorted(Path(open_dataset(settings).location, table).glob("arrived_on=*/*.parquet"))


def rows(settings: Settings, table: str, customer: str) -> pl.DataFrame:
    """The rows of a customer in a table."""
    found = [pl.read_parquet(path, hive_partitioning=False) for path in files(settings, table)]
    if not found:
        return pl.DataFrame(schema={"customer_id": pl.String})
    return pl.concat(found).filter(pl.col("customer_id") == customer)
