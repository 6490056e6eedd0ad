"""Refused sales judged again."""

from dataclasses import replace

import polars as pl
import pytest

from lake.read import Lake
from lake.verify import verify
from stream_jobs import replay
from stream_jobs.join import run_join
from stream_jobs.replay import Wanted, run_replay
from stream_jobs.report import run_report
from stream_jobs.rules import SALES_RULES
from stream_jobs.sink import run_sink
from stream_jobs.transactions import Transactions
from stream_jobs.validate import run_validate
from tests.running import running_job, wait_until
from tests.stream_jobs.lake_rows import rows
from tests.stream_jobs.world import World

CHEAP = tuple(rule for rule in SALES_RULES if rule.code != "bad_price")


def refused_world(world: World) -> int:
    """Sales of which 6 are refused: 4 for their price, one of them for its quantity too, and 2 for their location."""
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    delivery = world.deliver_sales(
        5,
        unit_price=[-1.0, -1.0, 1.0, 1.0, 1.0],
        quantity=[1.0, 1.0, 1.0, 1.0, 1.0],
        location_id=["L1", "L1", "L1", "L1", "L2"],
    )
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: world.judged() == (4, 6), "all verdicts")
    return delivery


def mine(world: World, **wanted: object) -> Wanted:
    return replace(Wanted(world.customer), **wanted)  # type: ignore[arg-type]


def test_by_corrected_rules_sales_become_valid_once_and_everybody_learns_of_it(world: World) -> None:
    delivery = refused_world(world)
    before = len(world.messages("sales-validated"))
    dry = run_replay(world.settings, world.store, CHEAP, mine(world), dry=True)
    assert (dry.judged, dry.valid, dict(dry.by_code)) == (6, 4, {"unknown_location": 2})
    assert len(world.messages("sales-validated")) == before
    done = run_replay(world.settings, world.store, CHEAP, mine(world))
    again = run_replay(world.settings, world.store, CHEAP, mine(world))
    assert (done.judged, done.valid, again.judged, again.valid) == (6, 4, 2, 0)
    inputs = {m.value(): (m.partition(), m.key()) for m in world.messages("sales-input")}
    valid = world.messages("sales-validated")
    assert len(valid) == before + 4
    assert len({m.value() for m in valid}) == len(valid)
    assert all(inputs[m.value()] == (m.partition(), m.key()) for m in valid)
    settings = world.with_stream(flush_s_max=0.2)
    with (
        running_job(lambda stop: run_report(world.settings, world.store, stop)),
        running_job(lambda stop: run_join(settings, world.store, stop)),
        running_job(lambda stop: run_sink(settings, world.store, stop)),
    ):
        wait_until(lambda: rows(world.settings, "sales_joined", world.customer).height == 8, "the lake")
        wait_until(lambda: Lake(world.store).errors(world.customer, delivery)[1] == 2, "the refusals")
        wait_until(lambda: world.report(delivery).get("valid") == 8, "the report")
    report = world.report(delivery)
    assert (report["state"], report["invalid"], report["by_code"]) == ("done", 2, {"unknown_location": 2})
    still, _ = Lake(world.store).errors(world.customer, delivery)
    assert still["codes"].to_list() == [["unknown_location"]] * 2
    assert [finding for finding in verify(world.store) if finding.kind == "double"] == []


def test_a_location_that_came_later_counts_only_when_asked_for(world: World) -> None:
    refused_world(world)
    world.deliver_masters("locations", ["L2"])
    wanted = mine(world, code="unknown_location")
    assert run_replay(world.settings, world.store, SALES_RULES, wanted, dry=True).valid == 0
    found = run_replay(world.settings, world.store, SALES_RULES, replace(wanted, known_now=True))
    assert (found.judged, found.valid) == (2, 2)


def test_other_reasons_are_told_and_counted(world: World) -> None:
    delivery = refused_world(world)
    stricter = (
        *SALES_RULES,
        replace(CHEAP[0], code="too_few", when=pl.col("quantity") < 2, message="{quantity}"),
    )
    found = run_replay(world.settings, world.store, stricter, mine(world, delivery_id=delivery))
    assert (found.judged, found.valid, found.otherwise) == (6, 0, 6)
    tallies = [tally for tally in world.records("delivery-tallies") if tally["delivery_id"] == delivery]
    assert sum(tally["by_code"].get("too_few", 0) for tally in tallies) == 6
    assert sum(tally["by_code"].get("bad_price", 0) for tally in tallies) == 4
    assert world.judged() == (4, 6)


def test_a_replay_that_dies_on_the_way_is_gone_on_with(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    refused_world(world)
    small = world.with_stream(transaction_rows_max=2)
    commits = iter([True, False])

    class Dying(Transactions):
        def commit(self, *args: object) -> None:
            if not next(commits):
                raise KeyboardInterrupt
            super().commit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(replay, "Transactions", Dying)
    with pytest.raises(KeyboardInterrupt):
        run_replay(small, world.store, CHEAP, mine(world))
    monkeypatch.undo()
    run_replay(small, world.store, CHEAP, mine(world))
    valid = world.messages("sales-validated")
    assert len({m.value() for m in valid}) == len(valid) == 8
