"""The checker sees what it is there to see."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.checker import Found, check
from tests.faults.traffic import File
from tests.faults.windows import Late, Sums, Window, expected_windows, missummed
from tests.running import running_broker
from tests.s3 import S3Server
from tests.schemas.running import running_registry
from tests.stream_jobs.world import NOON, World, sales_frame


@pytest.fixture
def world(tmp_path: Path, home: Path) -> Iterator[World]:
    """An installation whose topics the test alone writes to."""
    with running_broker(tmp_path) as servers, running_registry(servers, home) as settings:
        world = World(settings, "acme")
        yield world
        world.close()


def report(delivery_id: int, records: int, valid: int, state: str = "done") -> dict[str, object]:
    return {
        "delivery_id": delivery_id, "customer_id": "acme", "content": "sales", "format": "csv", "name": "sales.csv",
        "size_bytes": 1, "state": state, "records": records, "valid": valid, "invalid": records - valid,
        "by_code": {"negative_quantity": 1} if valid < records else {}, "reason": None,
        "accepted_at": NOON, "updated_at": NOON, "done_at": NOON,
    }  # fmt: skip


def sales_file(folder: Path, number: int, rows: list[tuple[str, str, str, str]]) -> File:
    """A file of sales of P1 at L1 in Berlin: id, time, quantity, whether it is a withdrawal."""
    path = folder / f"sales-{number}.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["sale_id", "product_id", "sold_at", "quantity", "voided", "unit_price"])
        lines.writerows((sale, "P1", at, quantity, voided, "1.5") for sale, at, quantity, voided in rows)
    return File(path, "sales", len(rows), {}, "L1", "Europe/Berlin")


def window(name: str, first: date, sums: Sums) -> dict[str, Any]:
    """A window of L1 and P1 as the topic has it."""
    begins = datetime(first.year, first.month, first.day, tzinfo=ZoneInfo("Europe/Berlin"))
    return {
        "customer_id": "acme", "location_id": "L1", "product_id": "P1", "window": name,
        "starts_at": begins.astimezone(UTC),
        "ends_at": (begins + timedelta(days={"day": 1, "week": 7}[name])).astimezone(UTC),
        "time_zone": "Europe/Berlin", "quantity": sums.quantity / 1e6, "revenue": sums.revenue / 1e6,
        "sales": sums.sales, "final": sums.final, "updated_at": NOON,
    }  # fmt: skip


def late(delivery_id: int, position: int, name: str, outcome: str, missed: int) -> dict[str, Any]:
    """A late sale as the topic has it."""
    return {
        "customer_id": "acme", "delivery_id": delivery_id, "position": position, "sale_id": "a", "location_id": "L1",
        "product_id": "P1", "window": name, "starts_at": NOON, "ends_at": NOON, "missed": missed, "late_s": 1.0,
        "outcome": outcome,
    }  # fmt: skip


def test_each_kind_of_wrong_is_counted(world: World, s3_server: S3Server, tmp_path: Path) -> None:
    lake = s3_server.settings()
    settings = world.settings.model_copy(update={"lake": lake.lake, "s3": lake.s3})
    five, none = (
        File(Path(), "sales", count, codes) for count, codes in ((5, {5: "negative_quantity"}), (0, {}))
    )
    two = sales_file(
        tmp_path, 2, [("a", NOON.isoformat(), "2", "false"), ("b", NOON.isoformat(), "2", "false")]
    )
    delivered = {1: five, 2: two, 3: none}

    def validated(delivery_id: int, positions: list[int]) -> None:
        frame = sales_frame("acme", delivery_id, len(positions)).with_columns(
            pl.Series("position", positions)
        )
        world.send(
            "sales-validated", 0, world.codecs["sales-validated"].encode(frame), ["acme/L1"] * len(positions)
        )

    def joined(name: str, rows: list[tuple[int, int]]) -> None:
        data = io.BytesIO()
        pq.write_table(
            pa.table({"delivery_id": [row[0] for row in rows], "position": [row[1] for row in rows]}), data
        )
        s3_server.files().pipe_file(
            f"{lake.lake.removeprefix('s3://')}/sales_joined/{name}.parquet", data.getvalue()
        )

    # Of the five, the second is judged twice, the third never, and the fifth is taken for a good one.
    validated(1, [1, 2, 2, 4, 5])
    validated(2, [1, 2])
    # In the lake the first is twice, the second and the third are missing, and the fifth must not be.
    joined("a", [(1, 1), (1, 1), (1, 4), (1, 5)])
    joined("b", [(2, 1), (2, 2)])
    # Of the windows of delivery 2 a week is missing, another has the wrong sum, and a sale is called late.
    right = Sums(4_000_000, 6_000_000, 2, final=False)
    weeks = [NOON.date() - timedelta(days=back) for back in range(6)]
    windows = [window("day", NOON.date(), right), *(window("week", first, right) for first in weeks)]
    windows[3] |= {"quantity": 5.0}
    for topic, records in (("sales-windows", windows), ("sales-late", [late(2, 1, "day", "not_counted", 1)])):
        keys = [f"acme/{number}" for number in range(len(records))]
        world.send(topic, 0, [world.codecs[topic].encode_record(one) for one in records], keys)
    reports = [report(1, 5, 4), report(2, 2, 2), report(3, 0, 0, "judging")]
    codec = world.codecs["delivery-reports"]
    world.send("delivery-reports", 0, [codec.encode_record(one) for one in reports], ["k"] * len(reports))
    assert check(settings, s3_server, delivered) == Found(
        lost=3, duplicated=2, misjudged=2, misreported=1, missummed=3
    )


SUNDAY = date(2025, 3, 30)
"""A day of 23 hours in Berlin."""


def delivered_by_hand(folder: Path) -> dict[int, File]:
    """Sales of that Sunday; one is corrected in time and one too late, one is withdrawn, one late."""
    return {
        1: sales_file(folder, 1, [
            ("a", "2025-03-29T23:30:00+00:00", "2", "false"), ("b", "2025-03-30T21:59:00+00:00", "3", "false"),
            ("c", "2025-03-30T12:00:00+00:00", "0.1", "false"),
        ]),
        2: sales_file(folder, 2, [
            ("a", "2025-03-29T23:30:00+00:00", "0.2", "false"), ("b", "2025-03-30T21:59:00+00:00", "3", "true"),
            ("d", "2025-04-02T22:00:00+00:00", "1", "false"),
        ]),
        3: sales_file(folder, 3, [
            ("c", "2025-03-30T12:00:00+00:00", "9", "false"), ("e", "2025-03-30T12:00:00+00:00", "9", "false"),
        ]),
    }  # fmt: skip


Told = list[tuple[str, dict[str, Any] | None]]


def told_by_hand() -> tuple[Told, list[dict[str, Any]]]:
    """What a job without fault tells of them."""
    both = {
        # Delivery 3 finds the Sunday and the weeks that end with it closed: it was the third of April by then.
        ("day", 0): Sums(300_000, 450_000, 2, final=True),
        ("day", 4): Sums(1_000_000, 1_500_000, 1, final=False),
        ("week", -6): Sums(300_000, 450_000, 2, final=True),
        **{("week", back): Sums(18_200_000, 27_300_000, 3, final=False) for back in range(-5, -2)},
        **{("week", back): Sums(19_200_000, 28_800_000, 4, final=False) for back in range(-2, 1)},
        **{("week", back): Sums(1_000_000, 1_500_000, 1, final=False) for back in range(1, 5)},
    }
    told: Told = [
        (f"{name}{back}", window(name, SUNDAY + timedelta(days=back), sums))
        for (name, back), sums in both.items()
    ]
    named = [
        late(3, 1, "day", "not_counted", 1), late(3, 1, "day", "not_replaced", 1),
        late(3, 1, "week", "not_counted", 1), late(3, 1, "week", "not_replaced", 1),
        late(3, 2, "day", "not_counted", 1), late(3, 2, "week", "not_counted", 1),
    ]  # fmt: skip
    return told, named


def test_what_windows_must_be_follows_from_the_files(tmp_path: Path) -> None:
    expected = expected_windows(delivered_by_hand(tmp_path), {"L1": 3})
    told, named = told_by_hand()
    assert missummed(expected, told, named) == 0
    assert expected.windows[Window("day", "L1", "P1", SUNDAY.toordinal())] == Sums(300_000, 450_000, 2, True)
    assert expected.late == Counter(
        Late(one["delivery_id"], one["position"], one["window"], one["outcome"], one["missed"])
        for one in named
    )
    # Without a later delivery in its partition, the location's time has not come so far.
    not_yet = expected_windows(delivered_by_hand(tmp_path), {"L1": 2})
    assert not any(sums.final for sums in not_yet.windows.values())


def changed(told: Told, row: int, **fields: Any) -> Told:
    key, record = told[row]
    return [*told[:row], (key, {**(record or {}), **fields}), *told[row + 1 :]]


Plant = Callable[[Told, list[dict[str, Any]]], tuple[Told, list[dict[str, Any]]]]
PLANTS: dict[str, Plant] = {
    "another quantity": lambda told, named: (changed(told, 0, quantity=0.3000011), named),
    "another revenue": lambda told, named: (changed(told, 1, revenue=None), named),
    "another number of sales": lambda told, named: (changed(told, 5, sales=4), named),
    "final too early": lambda told, named: (changed(told, 1, final=True), named),
    "never final": lambda told, named: (changed(told, 0, final=False), named),
    "final again": lambda told, named: ([*told, told[0]], named),
    "no such window": lambda told, named: ([*told, ("x", window("day", SUNDAY, Sums(1, 1, 1, final=True)) | {
        "product_id": "P2"})], named),
    "withdrawn": lambda told, named: ([*told, (told[1][0], None)], named),
    "missing": lambda told, named: (told[:-1], named),
    "another end": lambda told, named: (changed(told, 3, ends_at=NOON), named),
    "late, not named": lambda told, named: (told, named[1:]),
    "late, named twice": lambda told, named: (told, [*named, named[2]]),
    "not late, named": lambda told, named: (told, [*named, late(2, 1, "day", "not_replaced", 1)]),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_each_kind_of_wrong_sum_is_counted(plant: str, tmp_path: Path) -> None:
    expected = expected_windows(delivered_by_hand(tmp_path), {"L1": 3})
    assert missummed(expected, *PLANTS[plant](*told_by_hand())) == 1


def test_a_late_sale_that_missed_another_number_of_windows_is_counted(tmp_path: Path) -> None:
    expected = expected_windows(delivered_by_hand(tmp_path), {"L1": 3})
    told, named = told_by_hand()
    named[0]["missed"] = 2
    assert missummed(expected, told, named) == 2, "one is named that is not late, and one that is late is not"
