"""The delivery log: one state for all readers, whatever they are handed twice."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stream_jobs.deliveries import DeliveryLog

START = datetime(2026, 5, 1, tzinfo=UTC)


def event(kind: str, digest: str = "d0", customer: str = "acme", **fields: Any) -> Mapping[str, Any]:
    described = {"content": "sales", "format": "csv", "name": "sales.csv", "size_bytes": 3, "blob": "b"}
    empty: dict[str, Any] = dict.fromkeys(described)
    return {
        "kind": kind,
        "customer_id": customer,
        "digest": digest,
        "at": START,
        "delivery_id": None,
        "compression": None,
        "position": 0,
        "refused": 0,
        "ends": [],
        "reason": None,
        **(described if kind == "accepted" else empty),
        **fields,
    }


def end(topic: str, partition: int, offset: int) -> dict[str, Any]:
    return {"topic": topic, "partition": partition, "offset": offset}


def test_an_accepted_events_offset_is_the_delivery_id() -> None:
    log = DeliveryLog()
    log.apply(7, event("accepted"))
    delivery = log.deliveries[7]
    assert (delivery.delivery_id, delivery.content, delivery.open, delivery.accepted_at) == (
        7,
        "sales",
        True,
        START,
    )
    assert log.by_digest("acme", "d0") == delivery
    assert log.by_digest("acme", "d1") is None
    assert log.position == 8


def test_the_same_file_accepted_twice_is_one_delivery_but_another_customers_is_not() -> None:
    log = DeliveryLog()
    log.apply(0, event("accepted"))
    log.apply(1, event("accepted", at=START + timedelta(hours=1)))
    log.apply(2, event("accepted", customer="other"))
    assert list(log.deliveries) == [0, 2]
    assert log.deliveries[0].accepted_at == START


def test_progress_adds_up_and_closed_ends_it() -> None:
    log = DeliveryLog()
    log.apply(0, event("accepted"))
    log.apply(1, event("progress", delivery_id=0, position=10, refused=1, ends=[end("t", 0, 9)]))
    log.apply(
        3, event("progress", delivery_id=0, position=20, refused=2, ends=[end("t", 0, 9), end("t", 1, 4)])
    )
    assert log.deliveries[0].position == 20
    assert log.open_deliveries() == [log.deliveries[0]]
    log.apply(5, event("closed", delivery_id=0, position=25, refused=2, ends=[end("t", 0, 30)], at=START))
    delivery = log.deliveries[0]
    assert (delivery.position, delivery.refused, delivery.open, delivery.closed_at) == (25, 2, False, START)
    assert delivery.ends == {("t", 0): 30, ("t", 1): 4}
    assert log.open_deliveries() == []


def test_a_rejected_delivery_keeps_its_reason_and_the_ends_of_what_it_wrote() -> None:
    log = DeliveryLog()
    log.apply(0, event("accepted"))
    log.apply(1, event("progress", delivery_id=0, position=10, ends=[end("t", 0, 9)]))
    log.apply(2, event("rejected", delivery_id=0, position=10, reason="line 12: broken"))
    delivery = log.deliveries[0]
    assert (delivery.rejected, delivery.rejected_at) == ("line 12: broken", START)
    assert (delivery.open, delivery.position) == (False, 10)
    assert delivery.ends == {("t", 0): 9}


def test_events_handed_over_twice_change_nothing() -> None:
    events = [
        event("accepted"),
        event("progress", delivery_id=0, position=10, ends=[end("t", 0, 9)]),
        event("closed", delivery_id=0, position=11),
    ]
    log, twice = DeliveryLog(), DeliveryLog()
    for offset, item in enumerate(events):
        log.apply(offset, item)
        twice.apply(offset, item)
        twice.apply(max(0, offset - 1), events[max(0, offset - 1)])
    assert dict(log.deliveries) == dict(twice.deliveries)
    assert log.position == twice.position == 3


def test_a_delivery_that_ended_does_not_change_any_more(caplog: pytest.LogCaptureFixture) -> None:
    log = DeliveryLog()
    log.apply(0, event("accepted"))
    log.apply(1, event("closed", delivery_id=0, position=5))
    ended = log.deliveries[0]
    log.apply(2, event("progress", delivery_id=0, position=9))
    log.apply(3, event("rejected", delivery_id=0, reason="late"))
    log.apply(4, event("progress", delivery_id=99, position=9))
    log.apply(5, event("accepted", digest="d9", blob=None))
    assert dict(log.deliveries) == {0: ended}
    assert log.position == 6
    assert len(caplog.records) == 4


def test_master_deliveries_before_a_sale_are_the_same_customers_only_and_in_order() -> None:
    log = DeliveryLog()
    contents = ["locations", "sales", "products", "prices", "locations", "sales"]
    for offset, content in enumerate(contents):
        log.apply(offset, event("accepted", digest=f"d{offset}", content=content))
    log.apply(6, event("accepted", customer="other", content="locations"))
    assert [item.delivery_id for item in log.master_deliveries_before("acme", 5)] == [0, 2, 4]
    assert [item.delivery_id for item in log.master_deliveries_before("acme", 4)] == [0, 2]
    assert [item.delivery_id for item in log.master_deliveries_before("acme", 0)] == []
    assert list(log.master_deliveries_before("nobody", 9)) == []
