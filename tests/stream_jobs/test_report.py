"""What the customer is told of a delivery: the pure reduction, and the job on a real broker."""

from datetime import timedelta

from stream_jobs.report import Tallies, reports, run_report
from stream_jobs.validate import run_validate
from tests.running import running_job, wait_until
from tests.stream_jobs.test_ordering import event, log_of
from tests.stream_jobs.world import NOON, World


def tally(delivery_id: int, valid: int, minutes: int = 0, **by_code: int) -> dict[str, object]:
    invalid = max(by_code.values(), default=0)
    return {
        "delivery_id": delivery_id,
        "customer_id": "acme",
        "valid": valid,
        "invalid": invalid,
        "by_code": by_code,
        "at": NOON + timedelta(minutes=minutes),
    }


def tallies_of(*records: dict[str, object]) -> Tallies:
    tallies = Tallies()
    for record in records:
        tallies.apply(record)
    return tallies


def test_a_delivery_goes_from_accepted_over_reading_and_judging_to_done() -> None:
    accepted = event("accepted", content="sales", digest=0)
    progress = event("progress", 0, position=4)
    closed = event("closed", 0, position=6)
    told = [
        reports(log_of(accepted), tallies_of())[0],
        reports(log_of(accepted, progress), tallies_of(tally(0, 3)))[0],
        reports(log_of(accepted, progress, closed), tallies_of(tally(0, 3)))[0],
        reports(log_of(accepted, progress, closed), tallies_of(tally(0, 3), tally(0, 1, 5, bad_price=2)))[0],
    ]
    assert [report.state for report in told] == ["accepted", "reading", "judging", "done"]
    assert [report.reason for report in told] == [
        "waits to be read",
        None,
        "3 of 6 records are still to be judged",
        None,
    ]
    assert (told[3].records, told[3].valid, told[3].invalid, told[3].by_code) == (6, 4, 2, {"bad_price": 2})
    assert (told[2].done_at, told[3].done_at) == (None, NOON + timedelta(minutes=5))


def test_sales_say_which_delivery_they_wait_for() -> None:
    log = log_of(
        event("accepted", content="locations", digest=0),
        event("accepted", content="sales", digest=1),
        event("accepted", content="sales", digest=2),
        event("closed", 1, position=5),
    )
    first, second, third = reports(log, tallies_of())
    assert first.reason == "waits to be read"
    assert second.reason == "waits for delivery 0 (locations), accepted 2026-03-02 12:00 UTC, not yet read"
    assert third.reason == "waits to be read"


def test_a_delivery_behind_others_says_so() -> None:
    log = log_of(event("accepted", content="sales", digest=0), event("accepted", content="sales", digest=1))
    assert (
        reports(log, tallies_of())[1].reason == "waits to be read, after 1 other delivery of the same content"
    )


def test_a_rejected_file_is_told_with_its_reason() -> None:
    log = log_of(
        event("accepted", content="sales", digest=0), event("rejected", 0, reason="line 3 is cut off")
    )
    (report,) = reports(log, tallies_of())
    assert (report.state, report.reason, report.done_at) == ("rejected", "line 3 is cut off", NOON)


def test_an_empty_delivery_is_done_when_it_closes() -> None:
    log = log_of(event("accepted", content="sales", digest=0), event("closed", 0))
    assert reports(log, tallies_of())[0].state == "done"


def test_more_verdicts_than_records_are_no_success() -> None:
    log = log_of(event("accepted", content="sales", digest=0), event("closed", 0, position=2))
    (report,) = reports(log, tallies_of(tally(0, 3)))
    assert report.state == "judging"
    assert report.reason is not None
    assert "3 verdicts were found for 2 records" in report.reason


def test_the_report_follows_the_judging_and_a_restart_repeats_nothing(world: World) -> None:
    late = world.accept("locations")
    world.deliver_masters("products", ["P1"])
    delivery_id = world.deliver_sales(20)
    rejected = world.accept("prices")
    world.reject(rejected, "it is a picture")

    def state(number: int) -> object:
        return world.report(number).get("state")

    with (
        running_job(lambda stop: run_report(world.settings, world.store, stop)),
        running_job(lambda stop: run_validate(world.settings, world.store, stop)),
    ):
        wait_until(
            lambda: state(delivery_id) == "judging" and state(rejected) == "rejected", "the first reports"
        )
        assert f"waits for delivery {late} (locations)" in world.report(delivery_id)["reason"]
        world.close_delivery(late, 1, world.masters(late, ["L1"]))
        wait_until(lambda: state(delivery_id) == "done", "the last report")
    told = world.report(delivery_id)
    assert (told["records"], told["valid"], told["invalid"], told["by_code"]) == (40, 40, 0, {})
    before = len(world.records("delivery-reports"))
    with running_job(lambda stop: run_report(world.settings, world.store, stop)):
        marker = world.accept("events")
        wait_until(lambda: state(marker) == "accepted", "the report of a new delivery")
    assert len(world.records("delivery-reports")) == before + 1
