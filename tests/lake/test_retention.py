"""Old files go only once all that is in them is sealed, and leave no gap."""

import datetime as dt

import pytest

from infra.blobs import DirectoryStore
from lake.append import AppendTable
from lake.news import customers_with_news
from lake.read import Lake
from lake.retention import delete, expired
from lake.seal import seal
from lake.verify import verify
from tests.lake.frames import DAY, NOON, append, sale
from tests.lake.test_read import refused

LATER = DAY + dt.timedelta(days=100)


@pytest.fixture
def table(store: DirectoryStore) -> AppendTable:
    """Four days of two customers; only one of them is in the second file."""
    table = AppendTable(store, "sales_joined")
    for number in range(4):
        names = ["acme", "beta"] if number != 1 else ["acme"]
        lines = [
            sale(sale_id=f"{number}", customer_id=name, sold_on=DAY + dt.timedelta(days=number))
            for name in names
        ]
        append(table, 0, lines, NOON + dt.timedelta(days=number))
    return table


def test_nothing_goes_that_a_customer_has_not_sealed(table: AppendTable) -> None:
    assert (expired(table, LATER).files, expired(table, LATER).held_back) == ((), 3)
    seal(table.store, "acme", NOON)
    # The second file is acme's alone, but without the first the chain would have a gap before it.
    assert expired(table, LATER).files == ()
    seal(table.store, "beta", NOON)
    found = expired(table, LATER)
    assert (len(found.files), found.rows, found.held_back) == (3, 5, 0)


def test_files_of_kept_days_and_the_newest_of_a_partition_stay(table: AppendTable) -> None:
    for name in ("acme", "beta"):
        seal(table.store, name, NOON)
    assert len(expired(table, DAY).files) == 0
    assert [file.arrived_on for file in expired(table, DAY + dt.timedelta(days=2)).files] == [
        DAY,
        DAY + dt.timedelta(days=1),
    ]
    assert table.files()[-1] not in expired(table, LATER).files


def test_after_old_files_went_the_lake_is_whole_and_goes_on(table: AppendTable) -> None:
    store, names = table.store, ("acme", "beta")
    for name in names:
        seal(store, name, NOON)
    before = {name: Lake(store).sales(name).polars() for name in names}
    end = table.chain_end(0)
    delete(store, expired(table, LATER))
    assert len(table.files()) == 1
    assert table.chain_end(0) == end
    assert verify(store) == []
    assert customers_with_news(store) == []
    assert all(Lake(store).sales(name).polars().equals(before[name]) for name in names)
    append(table, 0, [sale(sale_id="new", delivery_id=9)], NOON + dt.timedelta(days=9))
    assert customers_with_news(store) == ["acme"]
    assert seal(store, "acme", NOON) is not None
    assert Lake(store).sales("acme").polars().height == before["acme"].height + 1


def test_refused_records_go_by_age_alone(store: DirectoryStore) -> None:
    table = AppendTable(store, "sales_error")
    for number in range(3):
        append(table, 0, [refused(position=number)], NOON + dt.timedelta(days=number))
    assert len(expired(table, LATER).files) == 2
