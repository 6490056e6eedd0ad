"""What became of one customer's day, in the words that the UI, the log and the command line share.

Guarantee: an outcome always has a verdict and, unless it is plainly published, a reason in words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lake.forecasts import ForecastRun

Verdict = Literal["published", "refused", "held", "tried", "unchanged", "skipped", "failed"]
"""What a day can come to.

    published   a new forecast is served
    refused     a forecast was made and kept, the gate said no, and the one served before stays
    held        a sealed day looks broken: nothing was trained, and the forecast served before stays
    tried       a forecast was made and judged, for trial only: nothing was kept
    unchanged   this forecast had been made before; nothing was done
    skipped     there is not enough to forecast from; the reason says what is missing
    failed      a step broke; the run's page in Prefect has the log
"""

STATE_NAMES: dict[Verdict, str] = {
    "published": "Published",
    "refused": "Refused",
    "held": "Held",
    "tried": "Tried",
    "unchanged": "Unchanged",
    "skipped": "Skipped",
    "failed": "Failed",
}
"""Name of the Prefect state of each verdict. All but the last are of the type Completed: a refused forecast
is the gate doing its work, and an alarm on failed runs should not ring for it."""

RUN_TAG, CUSTOMER_TAG = "forecast-run:", "customer:"
"""Begin the tags of a flow run that name the run's record in the lake, and the customer."""


@dataclass(frozen=True, slots=True)
class ModelScore:
    """How one model did in the backtest, over all origins.

    Attributes:
        model: Its name.
        wape: Sum of absolute errors ÷ sum of sales of the single series and days; 0 is perfect.
        bias: Sum of forecasts ÷ sum of sales, less 1; above 0 is too high.
        pinball: Mean pinball loss over the quantiles, units; None for a model without quantiles.
        coverage: Share of days within the range from the lowest to the highest quantile; None likewise.
    """

    model: str
    wape: float
    bias: float
    pinball: float | None
    coverage: float | None


@dataclass(frozen=True, slots=True)
class CustomerOutcome:
    """What became of one customer's day.

    Attributes:
        customer_id: The customer.
        verdict: What the day came to.
        reasons: Why, in words; empty only when published without remarks.
        run_id: The forecast run in the lake, if one was made or found.
        manifest: Number of the lake's manifest that the run was trained on.
        rows: Rows of that manifest: pairs of location and product with sales, by day.
        origin: ISO date of the last day of sales used.
        scores: The backtest, by model, the new one first.
    """

    customer_id: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    run_id: str | None = None
    manifest: int | None = None
    rows: int | None = None
    origin: str | None = None
    scores: tuple[ModelScore, ...] = ()

    @property
    def line(self) -> str:
        """The outcome in one line, as the state of its flow run says it."""
        text = f"{self.customer_id}: {STATE_NAMES[self.verdict].lower()}"
        return f"{text}: {'; '.join(self.reasons)}" if self.reasons else text


def verdict_of_state(name: str | None, is_completed: bool) -> Verdict:
    """The verdict that a flow run's final state tells; anything that did not complete has failed."""
    for verdict, state_name in STATE_NAMES.items():
        if is_completed and name == state_name:
            return verdict
    return "failed"


def joint_verdict(outcomes: Sequence[CustomerOutcome]) -> Verdict:
    """The verdict that stands over a run for several customers: the first of the list that any of them has.

    A failure comes first, then a refusal or a held day, so that none is hidden behind a
    customer for whom all went well.
    """
    order: tuple[Verdict, ...] = ("failed", "refused", "held", "published", "tried", "skipped", "unchanged")
    found = {outcome.verdict for outcome in outcomes}
    return next((verdict for verdict in order if verdict in found), "skipped")


def outcome_of_run(run: ForecastRun, verdict: Verdict, reasons: Sequence[str]) -> CustomerOutcome:
    """What a day came to, from the record of its run.

    Args:
        run: The record.
        verdict: What the day came to.
        reasons: Why, in words.
    """
    means = [row for row in run.details.get("backtest", []) if row["origin"] is None]
    # The model of the run comes first; the others stay in the order in which they were tried.
    means.sort(key=lambda row: row["model"] != run.model)
    return CustomerOutcome(
        run.customer_id,
        verdict,
        tuple(reasons),
        run_id=run.run_id,
        manifest=run.manifest,
        rows=run.details.get("rows"),
        origin=run.origin.isoformat(),
        scores=tuple(_score(row) for row in means if row["wape"] is not None),
    )


def _score(row: dict[str, Any]) -> ModelScore:
    bias = row["bias"]
    return ModelScore(
        model=row["model"],
        wape=row["wape"],
        bias=math.nan if bias is None else bias,
        pinball=row["pinball"],
        coverage=row["coverage_90"],
    )
