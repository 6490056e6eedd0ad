"""What to forecast from: the last day that counts, or why there is no forecast.

Guarantee: pure; the same days of sales, day and settings give the same plan, and the same inputs the same run id.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

from infra.settings import FlowSettings
from lake.manifests import SealedObject

HISTORY_DAYS_MIN = 14
"""Days of sales without which there is no forecast at all: two of each weekday."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one customer's forecast is made from.

    Attributes:
        origin: Last day whose sales are used; the forecast begins the day after.
        remarks: What a reader of the forecast should know, in words.
    """

    origin: date
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoPlan:
    """Why nothing can be forecast, and what to do."""

    reason: str


def last_day_over(now: datetime, time_zone: str) -> date:
    """The last day that is over, in the schedule's time zone; the running day's sales are not all in."""
    return now.astimezone(ZoneInfo(time_zone)).date() - timedelta(days=1)


def plan_forecast(
    first_sale: date | None, last_sale: date | None, through: date, horizon_days: int
) -> Plan | NoPlan:
    """Decide what to forecast from.

    Args:
        first_sale: First day with sales; None without any.
        last_sale: Last day with sales that is not after `through`; None without any.
        through: The last day whose sales count.
        horizon_days: Days to forecast.
    """
    if first_sale is None or last_sale is None:
        return NoPlan(f"no sales up to {through} are in the lake; see what became of the deliveries")
    behind = (through - last_sale).days
    if behind >= horizon_days:
        return NoPlan(
            f"the last sales are of {last_sale}, {behind} days before {through}: all of the "
            f"{horizon_days} days after them are past; deliver newer sales or run the flow as of a day before"
        )
    history = (last_sale - first_sale).days + 1
    if history < HISTORY_DAYS_MIN:
        return NoPlan(
            f"there are sales of {history} days, from {first_sale} to {last_sale}; "
            f"a forecast needs {HISTORY_DAYS_MIN}"
        )
    if not behind:
        return Plan(last_sale)
    days = "day" if behind == 1 else "days"
    return Plan(last_sale, (f"the last sales are of {last_sale}, {behind} {days} before {through}",))


def days_due(
    sold: Sequence[date], forecast_from: Collection[date], through: date, missed_max: int
) -> list[date]:
    """The days to forecast from: those that were missed, the oldest first, and the last one.

    Args:
        sold: Days with sealed sales up to `through`, in order.
        forecast_from: Last days of sales of the runs there are.
        through: The last day whose sales count; always due, since older sales may have changed.
        missed_max: Days before it that are made up for at most, the newest; there are none without any run.
    """
    if not forecast_from or not sold:
        return [through]
    newest = max(forecast_from)
    missed = [day for day in sold[:-1] if day > newest]
    return [*missed[len(missed) - min(len(missed), missed_max) :], through]


def run_id_of(origin: date, inputs: Sequence[SealedObject], flow: FlowSettings) -> str:
    """The id of the run of an origin, the sealed objects read for it, and settings.

    Whoever does the same work again writes to the same names, and so finds that it has been done. Sales of days
    after the origin that are sealed meanwhile change nothing.
    """
    recipe = [f"{flow.horizon_days} {flow.backtest_origins} {flow.training_rows_max} {flow.learner}"]
    recipe += [f"{item.path} {item.sha256}" for item in inputs]
    return f"{origin}-{sha256(chr(10).join(recipe).encode()).hexdigest()[:10]}"
