"""Sealing: each sale once, whatever order, portions, crashes and rivals there are."""

import datetime as dt
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lake.lines
import lake.seal
from infra.blobs import DirectoryStore
from infra.errors import CorruptLakeError, FaultError
from lake.append import AppendTable
from lake.manifests import Manifest, load_manifest, manifest_numbers
from lake.objects import kept_path
from lake.read import Lake
from lake.seal import seal
from lake.verify import verify
from tests.lake.frames import DAY, NOON, append, sale, void
from tests.lake.oracle import Line, sealed, summed

NOW = dt.datetime(2026, 4, 1, 4, 30, tzinfo=dt.UTC)
NEXT_DAY = DAY + dt.timedelta(days=1)


class Crash(BaseException):
    """The process dies here."""


class DyingStore(DirectoryStore):
    """A store whose process dies before its nth change."""

    def __init__(self, root: Path, changes: int) -> None:
        super().__init__(root)
        self.left = changes

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def put_if_absent(self, path: str, data: bytes) -> None:
        self._count()
        super().put_if_absent(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self._count()
        super().replace(path, data)

    def copy(self, source: str, target: str) -> None:
        self._count()
        super().copy(source, target)

    def delete(self, path: str) -> None:
        self._count()
        super().delete(path)


def arrive(store: DirectoryStore, lines: Sequence[Line], partition: int = 0) -> None:
    append(AppendTable(store, "sales_joined"), partition, lines)


def check(store: DirectoryStore, lines: Sequence[Line], as_of: int | None = None) -> None:
    """The sealed tables hold what the naive twin makes of the lines, in the manifest and in the folders."""
    expected = sealed(lines)
    lake = Lake(store)
    frame = lake.sales("acme", as_of=as_of).polars()
    found = {row["sale_id"]: row for row in frame.iter_rows(named=True)}
    assert len(found) == frame.height
    wanted = {key: {name: line[name] for name in frame.columns} for key, line in expected.items()}
    assert found == wanted
    daily = lake.daily("acme", as_of=as_of).polars()
    sums = {
        (row["location_id"], row["product_id"], row["sold_on"]): (
            row["quantity"],
            row["revenue"],
            row["sales"],
        )
        for row in daily.iter_rows(named=True)
    }
    assert sums == {key: pytest.approx(value) for key, value in summed(expected.values()).items()}
    if as_of is None:
        assert verify(store) == []
        assert store.list("sales_sealed/customer_id=acme") == sorted(
            {
                f"sales_sealed/customer_id=acme/sold_on={line['sold_on']}/part.parquet"
                for line in expected.values()
            }
        )


def sealed_now(store: DirectoryStore) -> Manifest:
    manifest = seal(store, "acme", NOW)
    assert manifest is not None
    return manifest


def test_sealing_keeps_each_sale_once_and_sums_the_days(store: DirectoryStore) -> None:
    lines = [
        sale(sale_id="a", position=1),
        sale(sale_id="b", position=2, quantity=3.5, unit_price=None),
        sale(sale_id="c", position=3, sold_on=NEXT_DAY, location_id="l2"),
        sale(sale_id="a", position=1, customer_id="other", quantity=99.0),
    ]
    arrive(store, lines)
    manifest = sealed_now(store)
    check(store, lines)
    assert (manifest.seq, manifest.first_sold_on, manifest.last_sold_on) == (1, DAY, NEXT_DAY)
    assert manifest.offsets["sales_joined"] == {0: 5}
    assert manifest.deliveries_up_to == 1
    assert sum(item.rows for item in manifest.of("sales_sealed")) == 3


def test_nothing_new_makes_no_manifest(store: DirectoryStore) -> None:
    assert seal(store, "acme", NOW) is None
    arrive(store, [sale()])
    assert seal(store, "other", NOW) is None
    sealed_now(store)
    assert seal(store, "acme", NOW) is None
    arrive(store, [sale(customer_id="other")])
    assert seal(store, "acme", NOW) is None
    assert manifest_numbers(store, "acme") == [1]


def test_a_correction_replaces_the_line_and_an_older_one_does_not(store: DirectoryStore) -> None:
    lines = [sale(sale_id="a", delivery_id=5, quantity=1.0)]
    arrive(store, lines)
    sealed_now(store)
    for newer in (
        sale(sale_id="a", delivery_id=7, quantity=7.0),
        sale(sale_id="a", delivery_id=6, quantity=6.0),
    ):
        arrive(store, [newer], partition=1)
        lines.append(newer)
        sealed_now(store)
        check(store, lines)
    assert Lake(store).sales("acme").polars()["quantity"].to_list() == [7.0]


def test_a_correction_may_move_a_sale_to_another_day_and_location(store: DirectoryStore) -> None:
    lines = [sale(sale_id="a"), sale(sale_id="b", position=2)]
    arrive(store, lines)
    sealed_now(store)
    lines.append(sale(sale_id="a", delivery_id=2, sold_on=NEXT_DAY, location_id="l9"))
    arrive(store, lines[2:], partition=3)
    sealed_now(store)
    check(store, lines)
    lines.append(sale(sale_id="b", delivery_id=3, sold_on=NEXT_DAY))
    arrive(store, lines[3:])
    sealed_now(store)
    check(store, lines)
    assert not store.folders("sales_sealed/customer_id=acme") or store.folders(
        "sales_sealed/customer_id=acme"
    ) == [f"sold_on={NEXT_DAY}"]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("void_first", [True, False])
def test_a_withdrawal_counts_whether_it_arrives_before_or_after_its_sale(
    store: DirectoryStore, void_first: bool, together: bool
) -> None:
    steps = [
        [sale(sale_id="a", delivery_id=1), sale(sale_id="b", position=2)],
        [void(sale_id="a", delivery_id=2)],
    ]
    if void_first:
        steps.reverse()
    for partition, step in enumerate(steps):
        arrive(store, step, partition)
        if not together:
            sealed_now(store)
    if together:
        sealed_now(store)
    check(store, [line for step in steps for line in step])
    assert Lake(store).sales("acme").polars()["sale_id"].to_list() == ["b"]


def test_a_sale_that_is_delivered_again_after_its_withdrawal_counts_again(store: DirectoryStore) -> None:
    lines: list[Line] = []
    for delivery, line in enumerate(
        [sale(sale_id="a"), void(sale_id="a"), sale(sale_id="a"), void(sale_id="a")]
    ):
        lines.append({**line, "delivery_id": delivery})
        arrive(store, lines[-1:])
        sealed_now(store)
        check(store, lines)
    assert Lake(store).sales("acme").polars().is_empty()
    assert store.list("sales_sealed") == []


def test_an_older_manifest_reads_as_it_was(store: DirectoryStore) -> None:
    lines: list[Line] = []
    for delivery in range(4):
        lines.append(sale(sale_id=f"s{delivery % 2}", delivery_id=delivery, quantity=float(delivery)))
        arrive(store, lines[-1:])
        assert sealed_now(store).seq == delivery + 1
    for delivery in range(4):
        check(store, lines[: delivery + 1], as_of=delivery + 1)


def test_an_object_that_is_gone_is_read_from_its_folder_or_told(store: DirectoryStore) -> None:
    arrive(store, [sale()])
    (item,) = sealed_now(store).of("sales_sealed")
    store.delete(kept_path(item.path, item.sha256))
    assert len(Lake(store).sales("acme").polars()) == 1
    assert [finding.kind for finding in verify(store)] == ["digest"]
    store.replace(item.path, b"another")
    with pytest.raises(CorruptLakeError, match="restore"):
        Lake(store).sales("acme")


def test_master_data_is_sealed_as_its_newest_version(store: DirectoryStore) -> None:
    table = AppendTable(store, "changes_locations")
    base = {"customer_id": "acme", "position": 1, "received_at": NOON, "time_zone": "UTC"}
    versions: list[dict[str, Any]] = [
        {**base, "location_id": "l1", "delivery_id": 1, "name": "first"},
        {**base, "location_id": "l2", "delivery_id": 1, "name": "other"},
        {**base, "location_id": "l1", "delivery_id": 9, "name": "newest"},
        {**base, "location_id": "l1", "delivery_id": 3, "name": "late"},
        {**base, "location_id": "l1", "delivery_id": 99, "name": "foreign", "customer_id": "other"},
    ]
    append(table, 0, versions[:2])
    first = sealed_now(store)
    append(table, 0, versions[2:])
    assert sealed_now(store).deliveries_up_to == 9
    lake = Lake(store)
    rows = lake.master("acme", "locations").polars()
    assert dict(rows.select("location_id", "name").iter_rows()) == {"l1": "newest", "l2": "other"}
    assert lake.master("acme", "locations", as_of=first).polars()["name"].to_list() == ["first", "other"]
    assert lake.master("acme", "prices").polars().is_empty()
    with pytest.raises(FaultError, match="locations, products, prices, events"):
        lake.master("acme", "sales_sealed")


def test_the_attributes_of_a_day_are_those_delivered_last(store: DirectoryStore) -> None:
    arrive(
        store,
        [
            sale(sale_id="a", delivery_id=4, product_name="new name", sold_at=NOON - dt.timedelta(hours=3)),
            sale(sale_id="b", delivery_id=2, product_name="old name"),
        ],
    )
    sealed_now(store)
    assert Lake(store).daily("acme").polars()["product_name"].to_list() == ["new name"]


def _story() -> tuple[list[Line], list[Line]]:
    before = [sale(sale_id=f"s{n}", position=n, sold_on=DAY + dt.timedelta(days=n % 3)) for n in range(9)]
    after: list[Line] = [
        sale(sale_id="s0", delivery_id=2, position=1, sold_on=NEXT_DAY),
        void(sale_id="s1", delivery_id=2, position=2),
        sale(sale_id="new", delivery_id=2, position=3, sold_on=DAY + dt.timedelta(days=7)),
        *[void(sale_id=f"s{n}", delivery_id=2, position=10 + n) for n in (2, 5, 8)],
    ]
    return list(before), after


def test_a_seal_that_dies_anywhere_is_completed_by_the_next(tmp_path: Path) -> None:
    before, after = _story()
    start = DirectoryStore(tmp_path / "start")
    arrive(start, before)
    sealed_now(start)
    arrive(start, after)
    died = 0
    for changes in range(60):
        root = tmp_path / str(changes)
        shutil.copytree(start.location, root)
        store = DirectoryStore(root)
        try:
            seal(DyingStore(root, changes), "acme", NOW)
        except Crash:
            died += 1
            committed = manifest_numbers(store, "acme")[-1]
            check(store, before + after if committed == 2 else before, as_of=committed)
            seal(store, "acme", NOW)
        check(store, before + after)
        assert manifest_numbers(store, "acme") == [1, 2]
        if changes >= died:
            break
    assert 10 < died < 60


def test_two_seals_at_once_do_no_harm(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = _story()
    arrive(store, before)
    together = threading.Barrier(2)
    first_tries: set[int] = set()
    commit = lake.seal._commit

    def meet(target: DirectoryStore, manifest: Manifest) -> bool:
        # Both have made their objects and know of the same manifest when the first of them commits.
        if threading.get_ident() not in first_tries:
            first_tries.add(threading.get_ident())
            together.wait(30)
        return commit(target, manifest)

    monkeypatch.setattr(lake.seal, "_commit", meet)
    made: list[Manifest | None] = []

    def run(minute: int) -> None:
        made.append(seal(store, "acme", NOW + dt.timedelta(minutes=minute)))

    threads = [threading.Thread(target=run, args=(minute,)) for minute in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [manifest is None for manifest in made].count(True) == 1
    assert manifest_numbers(store, "acme") == [1]
    check(store, before)
    monkeypatch.undo()
    arrive(store, after)
    sealed_now(store)
    check(store, before + after)


def test_a_layout_that_was_overtaken_by_a_newer_seal_is_put_right(store: DirectoryStore) -> None:
    before, after = _story()
    arrive(store, before)

    class Overtaken(DirectoryStore):
        done = False

        def copy(self, source: str, target: str) -> None:
            if not self.done:
                self.done = True
                arrive(store, after)
                assert sealed_now(store).seq == 2
            super().copy(source, target)

    manifest = seal(Overtaken(Path(store.location)), "acme", NOW)
    assert manifest is not None
    assert manifest.seq == 1
    check(store, before + after)


def test_a_commit_whose_first_answer_was_lost_is_known_as_ones_own(store: DirectoryStore) -> None:
    class Forgetful(DirectoryStore):
        def put_if_absent(self, path: str, data: bytes) -> None:
            super().put_if_absent(path, data)
            if path.startswith("manifests/"):
                super().put_if_absent(path, data)

    arrive(store, [sale()])
    manifest = seal(Forgetful(Path(store.location)), "acme", NOW)
    assert manifest == load_manifest(store, "acme", 1)


def test_much_news_is_sealed_in_steps_with_the_same_result(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake.seal, "STEP_ROWS_MAX", 20)
    monkeypatch.setattr(lake.seal, "GROUP_ROWS_MAX", 4)
    monkeypatch.setattr(lake.seal, "IDS_ROWS_MAX", 5)
    monkeypatch.setattr(lake.lines, "PORTION_ROWS_MAX", 10)
    before, after = _story()
    for number in range(4):
        arrive(store, before[number::4] * 2, partition=number % 2)
        arrive(store, after[number::4], partition=1)
    assert sealed_now(store).seq > 1
    check(store, before + after)


LINES = st.lists(
    st.builds(
        lambda sale_id, delivery, day, location, quantity, priced, voided, customer: (
            void(sale_id=sale_id, delivery_id=delivery, customer_id=customer)
            if voided
            else sale(
                sale_id=sale_id,
                delivery_id=delivery,
                sold_on=DAY + dt.timedelta(days=day),
                location_id=location,
                quantity=float(quantity),
                unit_price=1.25 if priced else None,
                customer_id=customer,
            )
        ),
        st.sampled_from(["a", "b", "c", "d"]),
        st.integers(0, 4),
        st.integers(0, 2),
        st.sampled_from(["l1", "l2"]),
        st.integers(-3, 9),
        st.booleans(),
        st.integers(0, 3).map(lambda number: number == 0),
        st.sampled_from(["acme", "acme", "acme", "other"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), LINES, st.booleans()), min_size=1, max_size=5))
def test_any_order_of_lines_files_and_seals_gives_what_the_naive_twin_gives(
    flushes: list[tuple[int, list[dict[str, Any]], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = DirectoryStore(Path(folder))
        lines: list[Line] = []
        for partition, flush, seals in flushes:
            # Every position once, but not in the order of arrival.
            placed = [{**line, "position": (len(lines) + n) * 37 % 101} for n, line in enumerate(flush)]
            arrive(store, placed, partition)
            lines += placed
            if seals:
                seal(store, "acme", NOW)
        seal(store, "acme", NOW)
        if any(line["customer_id"] == "acme" for line in lines):
            check(store, lines)
        else:
            assert Lake(store).customers() == []


def test_four_readers_of_the_sealed_folders_agree(store: DirectoryStore) -> None:
    lines = [
        sale(
            sale_id=f"{customer}{n}", customer_id=customer, position=n, sold_on=DAY + dt.timedelta(days=n % 4)
        )
        for customer in ("007", "acme")
        for n in range(40)
    ]
    arrive(store, lines)
    for customer in ("007", "acme"):
        seal(store, customer, NOW)
    for table, rows in (("sales_sealed", 80), ("sales_daily", 8)):
        folder = store.uri(table)
        pandas = pd.read_parquet(folder)
        arrow = ds.dataset(folder, partitioning="hive").to_table()
        polars = pl.read_parquet(folder)
        query = f"select count(*), sum(quantity), min(sold_on) from read_parquet('{folder}/**/*.parquet')"
        with duckdb.connect() as database:
            assert database.execute(query).fetchone() == (rows, 160.0, DAY)
        assert (len(pandas), pandas["quantity"].sum(), pandas["sold_on"].astype(str).min()) == (
            rows,
            160.0,
            str(DAY),
        )
        assert (arrow.num_rows, arrow.num_columns) == (rows, len(polars.columns))
        assert (len(polars), polars["quantity"].sum(), polars["sold_on"].min()) == (rows, 160.0, DAY)


def test_a_time_without_zone_is_refused(store: DirectoryStore) -> None:
    with pytest.raises(FaultError, match="zone"):
        seal(store, "acme", NOW.replace(tzinfo=None))
