"""The ordering rule: the same verdicts whatever comes first."""

from dataclasses import dataclass, field
from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_jobs.deliveries import DeliveryLog, deliveries_frame
from stream_jobs.master_tables import LOCATION_COLUMNS, PRODUCT_COLUMNS, MasterTables, VersionedTable
from stream_jobs.ordering import blockers, decide, wait_for
from stream_jobs.rules import SALES_RULES, judge
from stream_jobs.verdicts import with_master_data
from tests.stream_jobs.world import NOON, master_frame, sales_frame

PLACE = ("locations", 0)


def event(
    kind: str, delivery_id: int | None = None, content: str | None = None, **fields: object
) -> dict[str, object]:
    """An event of the one customer; the digest is the delivery's id."""
    return {
        "kind": kind,
        "customer_id": "acme",
        "digest": str(fields.pop("digest", delivery_id)),
        "at": NOON,
        "delivery_id": delivery_id,
        "content": content,
        "format": "csv",
        "compression": None,
        "name": "file",
        "size_bytes": 1,
        "blob": "blob",
        "position": 0,
        "refused": 0,
        "ends": [],
        "reason": None,
        **fields,
    }


def log_of(*events: dict[str, object]) -> DeliveryLog:
    log = DeliveryLog()
    for offset, one in enumerate(events):
        log.apply(offset, one)
    return log


def test_a_sale_waits_for_an_open_delivery_of_master_data_before_it_and_for_no_later_one() -> None:
    log = log_of(
        event("accepted", content="locations", digest=0),
        event("accepted", content="sales", digest=1),
        event("accepted", content="products", digest=2),
        event("accepted", content="prices", digest=3),
    )
    (wait,) = blockers(log, {}, "acme", 1)
    assert wait.words == "delivery 0 (locations), accepted 2026-03-02 12:00 UTC, not yet read"
    assert blockers(log, {}, "other", 1) == []


def test_a_closed_delivery_is_known_only_when_its_last_record_has_been_read() -> None:
    end = [{"topic": "locations", "partition": 0, "offset": 5}]
    log = log_of(
        event("accepted", content="locations", digest=0),
        event("accepted", content="sales", digest=1),
        event("closed", 0, position=6, ends=end),
    )
    assert len(blockers(log, {PLACE: 5}, "acme", 1)) == 1
    assert blockers(log, {PLACE: 6}, "acme", 1) == []
    assert wait_for(log.deliveries[0]).state == "read, its records are on their way"


def test_nobody_waits_for_the_refusals_and_tallies_of_master_data() -> None:
    ends = [
        {"topic": topic, "partition": 0, "offset": 5}
        for topic in ("locations", "sales-error", "delivery-tallies")
    ]
    log = log_of(
        event("accepted", content="locations", digest=0),
        event("accepted", content="sales", digest=1),
        event("closed", 0, position=6, ends=ends),
    )
    assert blockers(log, {PLACE: 6}, "acme", 1) == []


def test_a_rejected_delivery_holds_nothing_back() -> None:
    log = log_of(
        event("accepted", content="locations", digest=0),
        event("accepted", content="sales", digest=1),
        event("rejected", 0, reason="no such element"),
    )
    assert blockers(log, {}, "acme", 1) == []


def test_a_sale_waits_until_its_own_delivery_has_been_read_of() -> None:
    (wait,) = blockers(log_of(), {}, "acme", 0)
    assert wait.content is None


def test_the_wait_has_a_bound_for_each_delivery_waited_for() -> None:
    log = log_of(
        event("accepted", content="locations", digest=0),
        event("accepted", content="products", digest=1),
        event("accepted", content="sales", digest=2),
    )
    since: dict[tuple[int, str | None], float] = {(0, "locations"): 10.0, (1, "products"): 50.0}
    assert not decide(log, {}, "acme", 2, since, now_s=100.0, wait_s_max=60.0).ready
    late = decide(log, {}, "acme", 2, since, now_s=110.0, wait_s_max=60.0)
    assert late.ready
    assert [wait.delivery_id for wait in late.waits] == [0, 1]


@dataclass
class Reader:
    """A worker's view of the world, moved step by step; the pure parts put together as the jobs do it."""

    log: DeliveryLog = field(default_factory=DeliveryLog)
    tables: MasterTables = field(default_factory=MasterTables.empty)
    position: int = 0
    verdicts: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def restart(self) -> None:
        """End, and go on from a snapshot of all that was known."""
        log = DeliveryLog.restored(deliveries_frame(self.log.deliveries.values()), self.log.position)
        tables = MasterTables(
            VersionedTable.restored(LOCATION_COLUMNS, self.tables.locations.capture()()),
            VersionedTable.restored(PRODUCT_COLUMNS, self.tables.products.capture()()),
        )
        self.log, self.tables = log, tables

    def judge(self, delivery_id: int, frame: pl.DataFrame, *, ordered: bool) -> bool:
        decision = decide(self.log, {PLACE: self.position}, "acme", delivery_id, {}, 0.0, 3600.0)
        if ordered and not decision.ready:
            return False
        found = judge(with_master_data(frame, self.tables), SALES_RULES)
        codes = iter(found.codes.to_list())
        for sale, valid in zip(frame["position"].to_list(), found.valid.tolist(), strict=True):
            self.verdicts[delivery_id * 1000 + sale] = () if valid else tuple(next(codes))
        return True


@dataclass
class History:
    """What was delivered: events, records of locations with their deliveries, and sales by delivery."""

    events: list[dict[str, object]]
    locations: list[pl.DataFrame]
    sales: dict[int, pl.DataFrame]


def history(deliveries: list[tuple[str, list[int]]], progress: list[int]) -> History:
    """All deliveries are accepted, and ingested in an order of their own that respects the lanes.

    Args:
        deliveries: Content of each with the numbers of the locations it brings or sells at.
        progress: How many records a chunk of locations has, one after the other.
    """
    events = [
        event("accepted", content=content, digest=number) for number, (content, _) in enumerate(deliveries)
    ]
    records: list[pl.DataFrame] = []
    sales: dict[int, pl.DataFrame] = {}
    for delivery_id, (content, names) in enumerate(deliveries):
        ids = [f"L{name}" for name in names]
        if content == "sales":
            frame = sales_frame("acme", delivery_id, len(ids), location_id=ids, sold_at=NOON)
            sales[delivery_id] = frame
            events.append(event("closed", delivery_id, position=len(ids)))
            continue
        # A location that is delivered again opens another day, so verdicts depend on the version seen.
        opened = (NOON + timedelta(days=delivery_id % 3 - 1)).date()
        step = progress[delivery_id % len(progress)]
        for start in range(0, len(ids), step):
            chunk = ids[start : start + step]
            records.append(master_frame("locations", "acme", delivery_id, chunk, opened_on=opened))
            written = sum(frame.height for frame in records)
            end = [{"topic": "locations", "partition": 0, "offset": written - 1}]
            events.append(event("progress", delivery_id, position=start + len(chunk), ends=end))
        events.append(event("closed", delivery_id, position=len(ids)))
    return History(events, records, sales)


def full_location(frame: pl.DataFrame) -> pl.DataFrame:
    nulls = [pl.lit(None, pl.String).alias(name) for name in ("name", "region", "kind", "currency")]
    return frame.with_columns(
        *nulls, pl.lit("UTC").alias("time_zone"), pl.lit(None, pl.Date).alias("closed_on")
    )


def replay(
    told: History, steps: list[int], *, ordered: bool = True, restarts: frozenset[int] = frozenset()
) -> dict[int, tuple[str, ...]]:
    """Verdicts when events, locations and sales are read in turns that `steps` decide."""
    reader = Reader()
    reader.tables.add_products(
        master_frame(
            "products",
            "acme",
            -1,
            ["P1"],
            name=None,
            department=None,
            category=None,
            unit="kg",
            introduced_on=None,
            ended_on=None,
        ),
        pl.Series([0]),
    )
    events, locations, waiting = list(enumerate(told.events)), list(told.locations), dict(told.sales)
    turn = 0
    while events or locations or waiting:
        chosen = steps[turn % len(steps)] if turn < 5 * len(steps) else turn
        turn += 1
        if turn in restarts:
            reader.restart()
        if chosen % 3 == 0 and events:
            reader.log.apply(*events.pop(0))
        elif chosen % 3 == 1 and locations:
            frame = locations.pop(0)
            offsets = pl.int_range(reader.position, reader.position + frame.height, eager=True)
            reader.tables.add_locations(full_location(frame), offsets)
            reader.position += frame.height
        elif waiting:
            delivery_id = next(iter(waiting))
            if reader.judge(delivery_id, waiting[delivery_id], ordered=ordered):
                del waiting[delivery_id]
    return reader.verdicts


DELIVERIES = st.lists(
    st.tuples(st.sampled_from(["sales", "locations"]), st.lists(st.integers(0, 4), min_size=1, max_size=4)),
    min_size=1,
    max_size=6,
)
STEPS = st.lists(st.integers(0, 2), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    deliveries=DELIVERIES,
    progress=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    steps=STEPS,
    restarts=st.frozensets(st.integers(1, 60), max_size=4),
)
def test_any_interleaving_with_restarts_gives_the_verdicts_of_reading_everything_first(
    deliveries: list[tuple[str, list[int]]], progress: list[int], steps: list[int], restarts: frozenset[int]
) -> None:
    told = history(deliveries, progress)
    everything_first = [0] * len(told.events) + [1] * len(told.locations) + [2]
    assert replay(told, steps, restarts=restarts) == replay(told, everything_first)


def test_without_the_rule_a_late_location_file_causes_unknown_locations() -> None:
    told = history([("locations", [1]), ("sales", [1])], [1])
    sales_first = [0, 0, 2, 0, 0, 0, 1]
    assert replay(told, sales_first) == {1001: ()}
    assert replay(told, sales_first, ordered=False) == {1001: ("unknown_location",)}
