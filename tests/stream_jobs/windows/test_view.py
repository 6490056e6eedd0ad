"""The newest windows as the HTTP service holds them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import polars as pl

from cli.windows_view import WindowsView
from tests.running import wait_until
from tests.stream_jobs.world import NOON, World


@contextmanager
def followed(world: World, rows_max: int = 1_000) -> Iterator[WindowsView]:
    """A view that follows the topic until the end of the block."""
    view, stop = WindowsView(world.settings, rows_max), threading.Event()
    thread = threading.Thread(target=view.follow, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: view.windows(world.customer).ready, "the end of the topic")
        yield view
    finally:
        stop.set()
        thread.join(30)
        view.close()


def write(world: World, number: int, quantity: float | None) -> None:
    """A day's window as the job writes it; one without a quantity is withdrawn."""
    starts_at = datetime(2026, 3, number, 8, tzinfo=UTC)
    record = {
        "customer_id": world.customer, "location_id": "L1", "product_id": "P1", "window": "day",
        "starts_at": starts_at, "ends_at": starts_at + timedelta(days=1), "time_zone": "America/Los_Angeles",
        "quantity": quantity, "revenue": None, "sales": 1, "final": False, "updated_at": NOON,
    }  # fmt: skip
    value = None if quantity is None else world.codecs["sales-windows"].encode_record(record)
    world.send("sales-windows", 0, [value], [f"{world.customer}/L1/P1/day/{starts_at.isoformat()}"])


def days(view: WindowsView, world: World) -> list[tuple[int, float]]:
    """Local day of the month and quantity of each window held."""
    rows = view.windows(world.customer).rows
    return sorted(rows.select(pl.col("starts_on").dt.day(), "quantity").rows())


def test_the_newest_state_of_each_window_is_held_and_withdrawn_ones_are_gone(lone_world: World) -> None:
    world = lone_world
    for number, quantity in ((1, 1.0), (2, 2.0), (1, 3.0)):
        write(world, number, quantity)
    with followed(world) as view:
        assert days(view, world) == [(1, 3.0), (2, 2.0)]
        write(world, 2, None)
        write(world, 3, 4.0)
        wait_until(lambda: days(view, world) == [(1, 3.0), (3, 4.0)], "the changes")


def test_no_more_windows_are_held_than_the_bound(lone_world: World) -> None:
    world = lone_world
    for number in range(1, 9):
        write(world, number, 1.0)
    # Of each of four partitions the last two messages are read.
    with followed(world, rows_max=8) as view:
        assert [day for day, _ in days(view, world)] == [7, 8]
