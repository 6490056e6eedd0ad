"""The lake's columns and their dictionary."""

from pathlib import Path

import pyarrow as pa
import pytest

from infra.blobs import DirectoryStore
from lake.dictionary import PATH, markdown, write_dictionary
from schemas.lake_tables import LAKE_TABLES, MASTER_KEYS, RAW_TABLES, LakeTable, empty_frame, polars_schema

DOCUMENT = Path(__file__).parents[2] / "docs" / "data-dictionary.md"


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


def test_the_document_is_the_dictionary_that_the_lake_carries() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(), (
        f"write lake.dictionary.markdown() to {DOCUMENT}"
    )


def test_the_dictionary_is_written_into_the_lake_when_it_changed(store: DirectoryStore) -> None:
    assert write_dictionary(store)
    assert not write_dictionary(store)
    assert store.read(PATH).decode() == markdown()
    store.replace(PATH, b"old")
    assert write_dictionary(store)
