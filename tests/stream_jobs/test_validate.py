"""Validation on a real broker."""

import statistics
import time
from collections import Counter

import pytest
from prometheus_client import REGISTRY

from infra.errors import FaultError
from infra.settings import PROFILES
from infra.topic_reader import TopicReader
from stream_jobs.validate import run_validate
from tests.running import running_job, wait_until
from tests.stream_jobs.world import World, sales_frame


def test_valid_sales_go_on_byte_for_byte_and_the_others_with_every_reason(world: World) -> None:
    world.deliver_masters("locations", ["L1"], time_zone="Europe/Berlin")
    world.deliver_masters("products", ["P1"])
    good = world.deliver_sales(500)
    bad = world.deliver_sales(
        1,
        partitions=[1],
        location_id="L9",
        product_id="P9",
        quantity=-1.0,
        unit_price=float("nan"),
        repeated=True,
    )
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: world.judged() == (1000, 1), "all verdicts")
        place = {"job": "validate", "topic": "sales-input", "partition": "0"}
        wait_until(
            lambda: REGISTRY.get_sample_value("headrace_lag_messages", place) == 0, "the metric of the lag"
        )
    assert [(m.partition(), m.key(), m.value()) for m in world.messages("sales-validated")] == [
        (m.partition(), m.key(), m.value())
        for m in world.messages("sales-input")
        if (m.key() or b"").endswith(b"/L1")
    ]
    (error,) = world.records("sales-error")
    assert error["codes"] == [
        "unknown_location",
        "unknown_product",
        "negative_quantity",
        "not_finite",
        "duplicate_sale_id",
    ]
    assert "found L9" in error["messages"][0]
    source = world.messages("sales-input")[-1]
    assert (error["original"], error["source_partition"], error["source_offset"]) == (
        source.value(),
        1,
        source.offset(),
    )
    assert (error["customer_id"], error["delivery_id"], error["position"]) == (world.customer, bad, 1)
    tallies = Counter[int]()
    for tally in world.records("delivery-tallies"):
        tallies[tally["delivery_id"]] += tally["valid"] + tally["invalid"]
    assert tallies == {good: 1000, bad: 1}


def test_sales_wait_for_a_location_file_that_was_accepted_before_them(world: World) -> None:
    world.deliver_masters("products", ["P1"])
    late = world.accept("locations")
    world.deliver_sales(100)
    # Another customer's sales go on in the partitions that do not wait.
    other = World(world.settings, f"{world.customer}-b")
    other.deliver_masters("locations", ["L1"])
    other.deliver_masters("products", ["P1"])
    other.deliver_sales(50, partitions=[2])
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: other.judged() == (50, 0), "the other customer's verdicts")
        ends = world.masters(late, ["L1"])
        other.deliver_sales(50, partitions=[2])
        wait_until(lambda: other.judged() == (100, 0), "the other customer's next verdicts")
        assert world.judged() == (0, 0)
        world.close_delivery(late, 1, ends)
        wait_until(lambda: world.judged() == (200, 0), "all verdicts")
    other.close()
    assert world.records("sales-error") == []


def test_what_is_judged_after_the_longest_wait_says_so(world: World) -> None:
    world.deliver_masters("products", ["P1"])
    never = world.accept("locations")
    world.deliver_sales(3, partitions=[0])
    with running_job(lambda stop: run_validate(world.with_stream(master_wait_s_max=0.5), world.store, stop)):
        wait_until(lambda: world.judged() == (0, 3), "the verdicts")
    for error in world.records("sales-error"):
        assert error["codes"] == ["unknown_location"]
        assert f"Judged without delivery {never} (locations)" in error["messages"][0]


def test_tuned_for_latency_a_sale_is_judged_without_waiting_for_others(world: World) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    tuned = world.with_stream(**PROFILES["latency"])
    delivery_id = world.accept("sales")
    reader = TopicReader(world.settings, ["sales-validated"], "test")
    with running_job(lambda stop: run_validate(tuned, world.store, stop)):
        took = []
        for number in range(1, 12):
            frame = sales_frame(world.customer, delivery_id, 1, first=number)
            world.sales(delivery_id, 0, frame)
            began, value = time.monotonic(), world.codecs["sales-input"].encode(frame)[0]
            wait_until(lambda: value in [m.value() for m in reader.poll(timeout_s=1.0)], "the verdict")  # noqa: B023
            took.append(time.monotonic() - began)
    reader.close()
    # Tuned for throughput, each would have waited for half a second.
    assert statistics.median(took[1:]) < world.settings.stream.transaction_wait_ms / 1000


def test_poison_costs_only_itself(world: World) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    delivery_id = world.accept("sales")
    frame = sales_frame(world.customer, delivery_id, 1500)
    values: list[bytes | None] = list(world.codecs["sales-input"].encode(frame))
    garbage: dict[int, bytes | None] = {
        0: None,
        7: b"",
        700: b"\x01" + (values[0] or b"")[1:],
        701: (values[0] or b"") + b"x",
        1400: (values[0] or b"")[:-3],
        1401: b"\x00\x00\x00\xff\xff" + (values[0] or b"")[5:],
    }
    for place, poison in garbage.items():
        values.insert(place, poison)
    world.send("sales-input", 1, values, [f"{world.customer}/L1"] * len(values))
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: world.judged() == (1500, 0), "the verdicts on the good ones")
    errors = world.records("sales-error")
    assert [error["codes"] for error in errors] == [["undecodable"]] * 6
    assert [error["original"] for error in errors] == [poison or b"" for poison in garbage.values()]
    assert {error["customer_id"] for error in errors} == {world.customer}
    assert [error["source_offset"] - errors[0]["source_offset"] for error in errors] == list(garbage)


def test_a_refusal_that_cannot_be_written_stops_the_job_and_nothing_is_committed_past_it(
    world: World,
) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    delivery_id = world.accept("sales")
    world.sales(delivery_id, 0, sales_frame(world.customer, delivery_id, 10))
    wait = {"original": "x" * 3000, "defect": "cut off"}
    world.sales(delivery_id, 0, sales_frame(world.customer, delivery_id, 1, first=11, **wait))
    world.sales(delivery_id, 0, sales_frame(world.customer, delivery_id, 10, first=12))
    small = world.settings.model_copy(update={"kafka": {"message.max.bytes": "2000"}})
    with pytest.raises(FaultError, match=r"a message of \d+ bytes cannot be written to sales-error"):
        with running_job(lambda stop: run_validate(small, world.store, stop)) as thread:
            thread.join(60)
    assert world.messages("sales-validated") == []
    assert world.judged() == (0, 0)
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: world.judged() == (20, 1), "all verdicts")
    assert len(world.messages("sales-validated")) == 20
