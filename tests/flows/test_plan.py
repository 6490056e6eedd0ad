"""What a forecast is made from, and why there may be none."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from flows.plan import NoPlan, Plan, days_due, last_day_over, plan_forecast, run_id_of
from infra.settings import FlowSettings
from lake.manifests import SealedObject

DAY = date(2026, 11, 22)


def test_the_running_day_does_not_count_and_the_schedules_time_zone_says_which_it_is() -> None:
    early = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
    assert last_day_over(early, "UTC") == date(2026, 11, 22)
    assert last_day_over(early, "America/Los_Angeles") == date(2026, 11, 21)


def test_a_forecast_begins_after_the_last_day_of_sales() -> None:
    assert plan_forecast(date(2026, 1, 1), DAY, DAY, 28) == Plan(DAY)


def test_sales_that_are_some_days_old_are_used_and_the_forecast_says_so() -> None:
    plan = plan_forecast(date(2026, 1, 1), date(2026, 11, 20), DAY, 28)
    assert plan == Plan(date(2026, 11, 20), ("the last sales are of 2026-11-20, 2 days before 2026-11-22",))


def test_sales_so_old_that_every_day_forecast_is_past_give_no_forecast() -> None:
    plan = plan_forecast(date(2026, 1, 1), date(2026, 11, 15), DAY, 7)
    assert isinstance(plan, NoPlan)
    assert "2026-11-15, 7 days before 2026-11-22" in plan.reason
    assert isinstance(plan_forecast(date(2026, 1, 1), date(2026, 11, 16), DAY, 7), Plan)


def test_two_weeks_of_sales_are_needed() -> None:
    assert isinstance(plan_forecast(date(2026, 11, 9), DAY, DAY, 7), Plan)
    plan = plan_forecast(date(2026, 11, 10), DAY, DAY, 7)
    assert isinstance(plan, NoPlan)
    assert "sales of 13 days" in plan.reason


def test_without_sales_the_reason_says_where_to_look() -> None:
    plan = plan_forecast(None, None, DAY, 7)
    assert isinstance(plan, NoPlan)
    assert "deliveries" in plan.reason


def test_the_run_id_follows_from_the_work_and_sorts_by_day() -> None:
    flow = FlowSettings()
    monday = SealedObject("sales_daily", "sales_daily/one", DAY, 10, 100, "a" * 64, "etag")
    again, corrected = replace(monday, etag="another store"), replace(monday, sha256="b" * 64)
    assert run_id_of(DAY, [monday], flow) == run_id_of(DAY, [again], FlowSettings())
    assert run_id_of(DAY, [monday], flow) != run_id_of(DAY, [corrected], flow)
    assert run_id_of(DAY, [monday], flow) < run_id_of(date(2026, 11, 23), [monday], flow)
    for other in (
        FlowSettings(horizon_days=27),
        FlowSettings(backtest_origins=3),
        FlowSettings(training_rows_max=2000),
        FlowSettings(learner="hist_gradient_boosting"),
    ):
        assert run_id_of(DAY, [monday], other) != run_id_of(DAY, [monday], flow)


def test_missed_days_are_due_the_oldest_first_and_the_last_day_always() -> None:
    week = [DAY - timedelta(days=back) for back in reversed(range(7))]
    assert days_due(week, [week[2]], DAY, 7) == week[3:]
    assert days_due(week, [week[2]], DAY, 1) == week[5:]
    assert days_due(week, [week[2]], DAY, 0) == [DAY]
    assert days_due(week, [DAY], DAY, 7) == [DAY]
    assert days_due(week, [], DAY, 7) == [DAY]
    assert days_due(week[:5], [week[2]], DAY, 7) == [week[3], DAY]
