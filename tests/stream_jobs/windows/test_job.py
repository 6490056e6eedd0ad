"""The window job on a real broker: sums by local days, late sales, kills and restarts."""

import logging
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from infra.errors import SettingError
from infra.kafka import admin
from infra.settings import Settings
from stream_jobs.windows.job import run_window
from stream_jobs.windows.kinds import Windows
from tests.running import job_process, running_job, wait_until
from tests.stream_jobs.windows.twin import Amount, Late, Line, Twin, Window
from tests.stream_jobs.world import NOON, World, sales_frame

WINDOW = "from stream_jobs.windows.job import run_window\nrun_window(settings, store, stop)"
READ_AGAIN_S = 1.5
"""More than enough to read a few sales."""
Told = dict[tuple[str, str, str, str, datetime], dict[str, Any]]


@pytest.fixture
def jobs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes started in the test; those that live at its end are ended."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def valid_sales(world: World, partition: int = 0, delivery: int | None = None, **columns: Any) -> int:
    """A delivery of sales that validation has let through into one partition; returns its id."""
    delivery_id = world.accept("sales") if delivery is None else delivery
    count = len(columns["sold_at"])
    frame = sales_frame(world.customer, delivery_id, count, **columns)
    keys = [f"{world.customer}/{location}" for location in frame["location_id"].to_list()]
    world.send("sales-validated", partition, world.codecs["sales-validated"].encode(frame), keys)
    return delivery_id


def standing(world: World) -> Told:
    """The windows as a reader of the topic has them."""
    found: Told = {}
    for message in world.messages("sales-windows"):
        key = (message.key() or b"").decode()
        if message.value() is None:
            found = {place: record for place, record in found.items() if record["key"] != key}
            continue
        record = world.codecs["sales-windows"].decode_record(message.value()) | {"key": key}
        place = (
            record["window"],
            record["location_id"],
            record["product_id"],
            record["key"],
            record["starts_at"],
        )
        assert not found.get(place, record)["final"] or record["final"], f"{key} was final before"
        found[place] = record
    return found


def quick(world: World, **changes: Any) -> Settings:
    """Settings under which changes are told at once."""
    return world.with_stream(window_update_s=0.05, **changes)


def sums(world: World, window: str) -> list[tuple[Any, ...]]:
    """Start, quantity, revenue, number of sales and whether final of each window of a name."""
    told = [record for record in standing(world).values() if record["window"] == window]
    fields = ("starts_at", "quantity", "revenue", "sales", "final")
    return sorted(tuple(record[name] for name in fields) for record in told)


def test_days_are_the_locations_own_and_close_when_its_time_has_come(world: World) -> None:
    world.deliver_masters("locations", ["L1"], time_zone="America/Los_Angeles")
    world.deliver_masters("products", ["P1"])
    settings = quick(world, windows="day=tumbling:1d", window_grace="1d")
    evening = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)  # 23:30 of the first of March on the spot
    first = valid_sales(world, sold_at=[evening, evening + timedelta(hours=1)], quantity=[1.1, 2.2])
    march = [datetime(2026, 3, day, 8, tzinfo=UTC) for day in range(1, 6)]
    with running_job(lambda stop: run_window(settings, world.store, stop)):
        wait_until(
            lambda: sums(world, "day") == [(march[0], 1.1, 1.65, 1, False), (march[1], 2.2, 3.3, 1, False)],
            "two days",
        )
        # The last delivery wins, and withdrawing the only sale of a day takes the day back.
        valid_sales(
            world,
            sale_id=[f"{first}-1", f"{first}-2"],
            sold_at=[evening, None],
            quantity=[5.0, None],
            voided=[False, True],
        )
        wait_until(lambda: sums(world, "day") == [(march[0], 5.0, 7.5, 1, False)], "the correction")
        valid_sales(world, sold_at=[evening + timedelta(days=3)])
        late = valid_sales(world, sold_at=[evening + timedelta(hours=-2), evening + timedelta(days=3)])
        wait_until(lambda: len(world.records("sales-late")) == 1, "the late sale")
    assert sums(world, "day") == [(march[0], 5.0, 7.5, 1, True), (march[3], 4.0, 6.0, 2, False)]
    (told,) = world.records("sales-late")
    assert (told["sale_id"], told["window"], told["outcome"]) == (f"{late}-1", "day", "not_counted")
    assert (told["starts_at"], told["ends_at"], told["missed"]) == (march[0], march[1], 1)
    # The location's newest sale before was 3 days after 23:30, the window closed a day after its end.
    assert told["late_s"] == timedelta(days=1, hours=23, minutes=30).total_seconds()


def test_a_worker_goes_on_from_a_snapshot_when_older_sales_are_gone(
    lone_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    settings = quick(world, windows="day=tumbling:1d", snapshot_s=0.05)
    valid_sales(world, sold_at=[NOON])
    with running_job(lambda stop: run_window(settings, world.store, stop)):
        wait_until(lambda: [row[3] for row in sums(world, "day")] == [1], "the first sale")
        wait_until(lambda: any("/p00000/" in path for path in world.store.list("state")), "a snapshot")
    client = admin(world.settings)
    client.delete_records([TopicPartition("sales-validated", 0, 1)])[
        TopicPartition("sales-validated", 0)
    ].result(30)
    valid_sales(world, sold_at=[NOON])
    caplog.clear()
    with caplog.at_level(logging.INFO), running_job(lambda stop: run_window(settings, world.store, stop)):
        wait_until(lambda: [row[3] for row in sums(world, "day")] == [2], "both sales")
    assert "restored as of offset" in caplog.text


def test_a_job_that_begins_where_all_is_told_says_none_of_it_again(world: World) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    settings = quick(world, windows="day=tumbling:1d", window_grace="1d", snapshot_s=3600)
    for day in (0, 5, 0):
        valid_sales(world, sold_at=[NOON + timedelta(days=day)])
    with running_job(lambda stop: run_window(settings, world.store, stop)):
        wait_until(lambda: len(world.records("sales-late")) == 1, "the late sale")
    written = len(world.messages("sales-windows"))
    with running_job(lambda stop: run_window(settings, world.store, stop)):
        # It has read again what is told by now, up to the end, when something new comes.
        wait_until(lambda: [row[3] for row in sums(world, "day")] == [1, 1], "what was told")
        time.sleep(READ_AGAIN_S)
        valid_sales(world, sold_at=[NOON + timedelta(days=5)])
        wait_until(lambda: [row[3] for row in sums(world, "day")] == [1, 2], "the new sale")
    assert len(world.messages("sales-windows")) == written + 1
    assert len(world.records("sales-late")) == 1


def test_windows_that_cannot_be_meant_are_refused_at_the_start(world: World) -> None:
    for wrong, words in (
        ("day=1d", "expected such as"),
        ("w=hopping:7d/2d", "a multiple of"),
        ("", "found ''"),
    ):
        with pytest.raises(SettingError, match=words):
            Windows.parsed(wrong, "1d")
    with pytest.raises(SettingError, match="WINDOW_GRACE: expected a duration"):
        run_window(world.with_stream(window_grace="soon"), world.store, None)  # type: ignore[arg-type]


SALES = 80


def traffic(world: World, number: int, partitions: Sequence[int] = (0, 1)) -> None:
    """A delivery into each of some partitions: a day's sales in no order, late ones, corrections, withdrawals."""
    delivery_id = world.accept("sales")
    day = NOON + timedelta(days=number)
    for partition in partitions:
        times = [day - timedelta(minutes=37 * row % 1440) for row in range(SALES)]
        times[7] = day - timedelta(days=9 if number % 3 == 0 else 2)
        ids = [f"{partition}-{number}-{row}" for row in range(SALES)]
        ids[11:14] = [f"{partition}-{number - 1}-{row}" for row in (11, 50, 51)]
        ids[14] = f"{partition}-{number - 3}-70"
        valid_sales(
            world,
            partition,
            delivery_id,
            sold_at=times,
            sale_id=ids,
            location_id=[f"L{partition}" if row % 2 else f"M{partition}" for row in range(SALES)],
            product_id=[f"P{row % 7}" for row in range(SALES)],
            quantity=[float(row % 5) for row in range(SALES)],
            voided=[row == 13 for row in range(SALES)],
        )


def microseconds(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def twins(world: World, settings: Settings) -> list[Twin]:
    """What each partition's windows must be, from what stands in the topic."""
    windows = Windows.parsed(settings.stream.windows, settings.stream.window_grace)
    found = [Twin(windows, windows.tick_us, 1_000_000) for _ in range(world.settings.sales_partitions)]
    for message in world.messages("sales-validated"):
        sale = world.codecs["sales-validated"].decode_record(message.value())
        quantity = round(sale["quantity"] * 1_000_000)
        line = Line(
            sale["sale_id"], sale["location_id"], sale["product_id"], sale["delivery_id"], sale["position"],
            microseconds(sale["sold_at"]), quantity, round(quantity * sale["unit_price"]), sale["voided"],
        )  # fmt: skip
        found[message.partition() or 0].take(line)
    return found


def seen_by_a_reader(world: World) -> dict[Window, tuple[Amount, bool]]:
    """The windows of the topic as the twin has them."""
    found = {}
    for record in standing(world).values():
        window = Window(
            record["window"], record["location_id"], record["product_id"], microseconds(record["starts_at"]),
            microseconds(record["ends_at"]),
        )  # fmt: skip
        revenue = None if record["revenue"] is None else round(record["revenue"] * 1_000_000)
        found[window] = (
            Amount(round(record["quantity"] * 1_000_000), revenue, record["sales"]),
            record["final"],
        )
    return found


def late_seen(world: World) -> Counter[Late]:
    """The late sales of the topic as the twin has them."""
    found: Counter[Late] = Counter()
    for record in world.records("sales-late"):
        late = Late(
            record["window"], record["sale_id"], (record["delivery_id"], record["position"]),
            microseconds(record["starts_at"]), microseconds(record["ends_at"]), record["missed"],
            round(record["late_s"] * 1_000_000), record["outcome"],
        )  # fmt: skip
        found[late] += 1
    return found


def deliver_masters(world: World, partitions: Sequence[int] = (0, 1)) -> None:
    """The locations and products of `traffic`."""
    world.deliver_masters("locations", [f"{letter}{number}" for letter in "LM" for number in partitions])
    world.deliver_masters("products", [f"P{number}" for number in range(7)])


def told_by_twins(
    world: World, settings: Settings
) -> tuple[dict[Window, tuple[Amount, bool]], Counter[Late]]:
    """What must stand of every window, and the late sales."""
    expected: dict[Window, tuple[Amount, bool]] = {}
    late: Counter[Late] = Counter()
    for twin in twins(world, settings):
        expected |= twin.published()
        late.update(twin.late)
    return expected, late


def test_a_job_killed_again_and_again_tells_what_the_twin_tells_once(
    world: World, jobs: list[subprocess.Popen[bytes]]
) -> None:
    deliver_masters(world)
    settings = world.with_stream(
        windows="day=tumbling:1d, week=hopping:4d/1d, slide=sliding:1h",
        window_grace="1d",
        window_update_s=0.2,
        snapshot_s=0.3,
        batch_rows_max=150,
    )
    jobs.append(job_process(settings, WINDOW))
    written = 0
    for number in range(11):
        traffic(world, number)
        if number in (3, 7):
            wait_until(lambda: len(world.messages("sales-windows")) > written, "more windows")  # noqa: B023
            jobs[-1].send_signal(signal.SIGKILL)
            jobs[-1].wait(10)
            written = len(world.messages("sales-windows"))
            jobs.append(job_process(settings, WINDOW))
    expected, late = told_by_twins(world, settings)
    wait_until(lambda: seen_by_a_reader(world) == expected, "what the twin tells")
    assert late_seen(world) == late
    assert {one.outcome for one in late} == {"not_counted", "not_replaced"}
    assert sum(final for _, final in expected.values()) > 500
