"""The columns of the tables of the lake."""

import pyarrow as pa
import pytest

from schemas.lake_tables import LAKE_TABLES, MASTER_KEYS, RAW_TABLES, LakeTable, empty_frame, polars_schema


@pytest.mark.parametrize("table", LAKE_TABLES.values(), ids=lambda table: table.name)
def test_every_column_has_a_description_and_a_unit(table: LakeTable) -> None:
    for field in table.schema:
        metadata = field.metadata or {}
        assert metadata[b"description"].endswith(b"."), field.name
        assert metadata[b"unit"], field.name
        if (
            pa.types.is_floating(field.type)
            or pa.types.is_timestamp(field.type)
            or pa.types.is_date(field.type)
        ):
            assert metadata[b"unit"] != b"none", field.name
    assert set(table.order) <= set(table.file_schema.names)
    assert set(table.needed) <= set(table.file_schema.names)
    assert not set(table.partitioning) & set(table.file_schema.names)
    assert empty_frame(table.schema).columns == table.schema.names


def test_the_tables_are_those_of_the_lake() -> None:
    assert ("sales_joined", "sales_error", *(f"changes_{name}" for name in MASTER_KEYS)) == RAW_TABLES
    assert set(LAKE_TABLES) == {
        *RAW_TABLES,
        *MASTER_KEYS,
        "sales_sealed",
        "sales_daily",
        "sales_withdrawn",
        "forecasts",
    }


def test_sealed_sales_have_the_columns_of_joined_ones_but_for_the_plumbing() -> None:
    joined = polars_schema(LAKE_TABLES["sales_joined"].schema)
    sealed = polars_schema(LAKE_TABLES["sales_sealed"].schema)
    assert {name: joined[name] for name in joined if name in sealed} == sealed
    assert set(joined) - set(sealed) == {"voided", "source_partition", "source_offset"}
