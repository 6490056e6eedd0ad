"""Small files merged in a dataset: the same rows, the same chain, and nothing twice for anybody."""

import datetime as dt
from pathlib import Path

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from infra.blobs import DirectoryStore, open_dataset
from infra.settings import load_settings
from lake.append import AppendTable, Footer, RawFile
from lake.compaction import merged_runs
from lake.datasets import begin
from lake.news import ReadFile
from lake.read import Lake
from lake.seal import seal
from lake.verify import verify
from tests.lake.frames import DAY, NOON, append, sale


@given(
    files=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 6)), min_size=1, max_size=12),
    rows_max=st.integers(1, 10),
)
def test_runs_are_of_one_closed_day_and_bounded_and_leave_nothing_out(
    files: list[tuple[int, int]], rows_max: int
) -> None:
    chain: list[ReadFile] = []
    day, offset = DAY, 0
    for step, count in files:
        day += dt.timedelta(days=step)
        file = RawFile(f"{offset}", 0, offset, day)
        chain.append((file, Footer("sales_joined", offset, offset + count, count, frozenset(), offset)))
        offset += count
    runs = merged_runs(chain, rows_max)
    assert [found for run in runs for found in run] == chain
    for run in runs:
        assert len({file.arrived_on for file, _ in run}) == 1
        assert len(run) == 1 or sum(footer.rows for _, footer in run) <= rows_max
        assert len(run) == 1 or run[0][0].arrived_on < day


def filled(store: DirectoryStore) -> AppendTable:
    table = AppendTable(store, "sales_joined")
    for number in range(12):
        at = NOON + dt.timedelta(days=number // 4)
        append(table, number % 2, [sale(sale_id=f"{number}-{n}", location_id=f"l{n}") for n in range(3)], at)
    return table


def test_a_compacted_dataset_holds_the_same_rows_in_fewer_files_and_goes_on(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    table = filled(store)
    before = store.list("sales_joined")
    assert begin(store, "small", {}, compact=True) == (12, 8)
    dataset = open_dataset(load_settings(lake=str(tmp_path), dataset="small"))
    compacted = AppendTable(dataset, "sales_joined")
    keys = ["source_partition", "source_offset", "sale_id"]
    rows = Lake(dataset).raw("sales_joined").polars()
    assert (
        rows.select(keys).sort(keys).equals(Lake(store).raw("sales_joined").polars().select(keys).sort(keys))
    )
    for partition in range(2):
        assert compacted.chain_end(partition) == table.chain_end(partition)
    append(compacted, 0, [sale(sale_id="later")], NOON + dt.timedelta(days=9))
    assert verify(dataset) == []
    assert seal(dataset, "acme", NOON) is not None
    assert Lake(dataset).sales("acme").polars().height == 37
    # Whoever reads the lake itself with another program sees what was there before, once.
    assert store.list("sales_joined") == before
    count = duckdb.execute(f"select count(*) from read_parquet('{tmp_path}/sales_joined/**/*.parquet')")
    assert count.fetchall() == [(36,)]


def test_a_dataset_whose_making_was_killed_does_not_keep_files_that_overlap(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    table = filled(store)
    for file in table.files():
        store.copy_if_absent(file.path, f"datasets/small/{file.path}")
    begin(store, "small", {}, compact=True)
    dataset = open_dataset(load_settings(lake=str(tmp_path), dataset="small"))
    assert Lake(dataset).raw("sales_joined").polars().height == 36
    assert verify(dataset) == []
