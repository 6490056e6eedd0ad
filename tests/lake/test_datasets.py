"""Which files a dataset takes over, and how it is made, found and dropped."""

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.blobs import DirectoryStore, open_dataset
from infra.errors import FaultError, SettingError
from infra.settings import load_settings
from lake.append import AppendTable, RawFile
from lake.datasets import Cut, begin, copied, dataset_in_use, drop, names
from lake.read import Lake
from tests.lake.frames import NOON, append, sale


@given(
    sizes=st.lists(st.integers(1, 5), max_size=8),
    start=st.integers(0, 30),
    first=st.integers(0, 30),
)
def test_a_dataset_takes_over_what_ends_before_the_cut_and_what_cannot_be_read_again(
    sizes: list[int], start: int, first: int
) -> None:
    chain: list[tuple[RawFile, int]] = []
    end = 0
    for size in sizes:
        chain.append((RawFile("path", 0, end, dt.date(2026, 3, 2)), end + size))
        end += size
    taken = copied(chain, Cut(start, first))
    assert taken == [file for file, _ in chain[: len(taken)]]
    reached = chain[len(taken) - 1][1] if taken else 0
    # It can be gone on with from where the copies end, and nothing was copied that need not be.
    assert reached >= min(first, end)
    assert all(ends > start for _, ends in chain[len(taken) :])
    for file, ends in chain[: len(taken)]:
        assert ends <= start or file.first_offset < first


def test_a_dataset_is_begun_read_listed_and_dropped(tmp_path: Path) -> None:
    settings = load_settings(lake=str(tmp_path))
    store = DirectoryStore(tmp_path)
    for number in range(3):
        append(AppendTable(store, "sales_joined"), 0, [sale(sale_id=f"{number}-{n}") for n in range(4)])
    begun = settings.model_copy(update={"dataset": "next"})
    with pytest.raises(SettingError, match="`headrace dataset begin next` makes it"):
        dataset_in_use(begun)
    table = AppendTable(store, "sales_joined")
    end_of_second = table.footer(table.files()[1]).next_offset
    assert begin(store, "next", {0: Cut(end_of_second, first=0)}) == (2, 2)
    assert names(store) == ["next"]
    assert Lake(dataset_in_use(begun)).raw("sales_joined").polars().height == 8
    assert Lake(dataset_in_use(settings)).raw("sales_joined").polars().height == 12
    with pytest.raises(FaultError, match="expected none of this name"):
        begin(store, "next", {})
    drop(store, "next")
    assert names(store) == []
    assert open_dataset(begun).list("sales_joined") == []


def test_a_dataset_that_died_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    append(AppendTable(store, "sales_joined"), 0, [sale()], NOON)
    (path,) = store.list("sales_joined")
    store.copy_if_absent(path, f"datasets/next/{path}")
    assert names(store) == []
    assert begin(store, "next", {}) == (1, 1)
    assert names(store) == ["next"]


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "x" * 33])
def test_a_dataset_needs_a_name_that_fits_into_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match="dataset: expected at most 32"):
        begin(DirectoryStore(tmp_path), name, {})
