"""Verifying: every kind of damage is found, and a sound lake is found sound."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from infra.blobs import DirectoryStore
from lake.append import AppendTable
from lake.objects import kept_path
from lake.seal import seal
from lake.verify import verify
from tests.lake.frames import DAY, NOON, append, rows, sale
from tests.lake.test_read import refused


@pytest.fixture
def table(store: DirectoryStore) -> AppendTable:
    table = AppendTable(store, "sales_joined")
    for number in range(3):
        append(table, 0, [sale(sale_id=f"{number}{n}") for n in range(3)], NOON + dt.timedelta(days=number))
    append(AppendTable(store, "sales_error"), 0, [refused(), refused(source_offset=1)])
    seal(store, "acme", NOON)
    return table


def kinds(table: AppendTable) -> set[str]:
    return {finding.kind for finding in verify(table.store)}


def test_a_sound_lake_has_no_findings(table: AppendTable) -> None:
    assert verify(table.store) == []


def test_files_that_overlap_are_found(table: AppendTable) -> None:
    table.append(0, 2, 7, NOON + dt.timedelta(days=9), rows("sales_joined", [sale(source_offset=2)]), None)
    assert {"chain"} == kinds(table)


def test_a_file_on_an_earlier_day_than_its_predecessor_is_found(table: AppendTable) -> None:
    frame = rows("sales_joined", [sale(source_offset=50)])
    table.append(0, 50, 51, NOON - dt.timedelta(days=5), frame, None)
    (finding,) = verify(table.store)
    assert finding.kind == "chain"
    assert f"{DAY + dt.timedelta(days=2)} or later" in finding.text


def test_a_row_that_is_there_twice_or_of_another_partition_is_found(table: AppendTable) -> None:
    twice = rows("sales_joined", [sale(source_offset=50), sale(source_offset=50, sale_id="other")])
    end = table.chain_end(0)
    table.append(0, 50, 60, NOON, twice, end)
    assert kinds(table) == {"double"}
    table.append(1, 0, 5, NOON, rows("sales_joined", [sale(source_partition=0)]), None)
    assert kinds(table) == {"double", "chain"}


def test_a_refused_message_that_is_there_twice_is_found(table: AppendTable) -> None:
    append(AppendTable(table.store, "sales_error"), 1, [{**refused(), "position": 8}])
    assert verify(table.store) == []
    source = AppendTable(table.store, "sales_error")
    end = source.chain_end(0)
    again = pl.concat(
        [pl.read_parquet(table.store.uri(file.path), hive_partitioning=False) for file in source.files()]
    )
    assert end is not None
    source.append(0, end.next_offset, end.next_offset + 9, NOON, again, end)
    assert kinds(table) == {"double"}


def test_another_schema_is_found(table: AppendTable) -> None:
    path = Path(table.store.uri(table.files()[0].path))
    import pyarrow.parquet as pq

    found = pq.read_table(path, partitioning=None)
    pq.write_table(found.drop_columns(["region"]).replace_schema_metadata(found.schema.metadata), path)
    assert "schema" in kinds(table)


def test_damage_to_what_a_manifest_names_is_found(table: AppendTable, store: DirectoryStore) -> None:
    manifest = seal(store, "acme", NOON)
    assert manifest is None
    path = store.list("sales_sealed/customer_id=acme")[0]
    kept = store.list("objects/sales_sealed/customer_id=acme")[0]
    good = store.read(path)
    store.replace(path, b"x" * len(good))
    assert kinds(table) == {"layout"}
    store.replace(kept, b"x" * len(good))
    assert kinds(table) == {"layout", "digest"}
    store.replace(path, good)
    assert "copy it" in verify(store)[0].text
    assert kept == kept_path(path, kept.rpartition("/")[2].removesuffix(".parquet"))


def test_a_seal_puts_back_what_lay_wrongly_in_the_folders(table: AppendTable, store: DirectoryStore) -> None:
    path = store.list("sales_daily/customer_id=acme")[0]
    store.replace(path, b"damage")
    store.put_if_absent("sales_daily/customer_id=acme/sold_on=1999-01-01/part.parquet", b"stray")
    assert seal(store, "acme", NOON) is None
    assert verify(store) == []
    assert len(store.list("sales_daily/customer_id=acme")) == 1


def test_a_manifest_that_is_missing_or_broken_is_found(table: AppendTable, store: DirectoryStore) -> None:
    append(table, 0, [sale(sale_id="new")], NOON + dt.timedelta(days=3))
    seal(store, "acme", NOON)
    first = store.read("manifests/acme/0000000001.json")
    store.delete("manifests/acme/0000000001.json")
    assert kinds(table) == {"manifest"}
    store.replace("manifests/acme/0000000001.json", first[:-20])
    assert kinds(table) == {"manifest"}


def test_a_raw_file_that_is_half_is_found_and_the_rest_looked_over(
    table: AppendTable, store: DirectoryStore
) -> None:
    path = table.files()[0].path
    store.replace(path, store.read(path)[:-100])
    append(table, 0, [sale(source_partition=7)], NOON + dt.timedelta(days=3))
    assert [finding.kind for finding in verify(store)] == ["unreadable"]


def test_a_file_that_is_gone_from_the_middle_of_a_chain_is_found(table: AppendTable) -> None:
    first, middle, _ = table.files()
    table.store.delete(middle.path)
    (finding,) = verify(table.store)
    assert finding.kind == "gap"
    assert first.path in finding.text
