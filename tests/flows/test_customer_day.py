"""One customer's day on a lake in a directory, without Prefect."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from flows import customer_day as day
from flows import publication
from flows.outcome import CustomerOutcome, outcome_of_run
from flows.plan import Plan, run_id_of
from flows.run_record import backtest_of
from flows.training_data import inputs_of, read_panel
from infra.blobs import BlobStore
from infra.settings import FlowSettings
from lake.forecast_status import load_status
from lake.forecasts import ForecastRun, current, forecast_frame, load_run
from lake.manifests import load_manifest
from ml.backtest import Backtest, backtest, backtest_origins
from ml.baselines import FittedWeekdayMean, SeasonalNaive, WeekdayMean
from ml.models import Forecast
from ml.panel import Panel
from ml.stored_model import load_model
from tests.flows.conftest import WEEK
from tests.flows.retailer import deliver

LAST = date(2026, 11, 22)
NOW = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)


def one_day(
    store: BlobStore, customer_id: str = "acme", through: date = LAST, flow: FlowSettings = WEEK
) -> tuple[CustomerOutcome | ForecastRun, Backtest | None]:
    """The steps in the order of the daily flow."""
    manifest = day.seal_customer(store, customer_id, NOW)
    plan = day.check(store, customer_id, manifest, through, flow, is_trial=False)
    if isinstance(plan, CustomerOutcome):
        return plan, None
    assert manifest is not None
    panel = read_panel(store, manifest, plan.origin, flow.horizon_days)
    origins = backtest_origins(panel, flow.backtest_origins, flow.horizon_days)
    tried = backtest(panel, list(day.models_of(flow).values()), origins, flow.horizon_days)
    trained = day.train(panel, flow)
    champion = day.champion_of(store, customer_id)
    verdict = day.judge_run(panel, tried, trained, champion, flow)
    run = publication.run_of(manifest, plan, flow, tried, trained, verdict, champion, NOW.date())
    return publication.publish_run(store, manifest, run, trained, day.model_of(flow)), tried


def test_a_day_ends_with_a_published_forecast_of_every_series_and_day(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    run, _ = one_day(store)
    assert isinstance(run, ForecastRun)
    assert run.accepted, run.reasons
    assert current(store, "acme") == run
    rows = forecast_frame(store, run)
    assert rows.height == 8 * WEEK.horizon_days
    assert rows["date"].min() == LAST + timedelta(days=1)
    assert rows["date"].max() == LAST + timedelta(days=WEEK.horizon_days)
    assert rows.select(pl.col("manifest", "made_on").n_unique()).row(0) == (1, 1)
    assert (run.manifest, run.origin, run.details["rows"]) == (1, LAST, run.details["rows"])
    assert run.model_path is not None
    assert load_model(store.read(run.model_path)).name == run.model


def test_boosted_trees_are_trained_stored_and_read_again(store: BlobStore) -> None:
    things = tuple(f"thing-{number:03d}" for number in range(55))
    deliver(store, "acme", LAST, days=110, things=things)
    run, _ = one_day(store, flow=FlowSettings(horizon_days=7, training_rows_max=2000, backtest_origins=1))
    assert isinstance(run, ForecastRun)
    assert run.details["remarks"] == []
    assert run.model_path is not None
    manifest = load_manifest(store, "acme")
    assert manifest is not None
    panel = read_panel(store, manifest, LAST, 7)
    again = load_model(store.read(run.model_path)).predict(panel, panel.origin, 7)
    assert again.mean.ravel().tolist() == forecast_frame(store, run)["mean"].to_list()


def test_a_second_run_with_nothing_new_publishes_nothing_and_says_so(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    first, _ = one_day(store)
    assert isinstance(first, ForecastRun)
    before = store.stats("")
    second, _ = one_day(store)
    assert isinstance(second, CustomerOutcome)
    assert second.verdict == "unchanged"
    assert second.run_id == first.run_id
    assert "nothing new since run" in second.line
    assert [score.model for score in second.scores] == ["global_trees", "seasonal_naive", "weekday_mean"]
    assert store.stats("") == before


def test_new_sales_lead_to_a_new_run_compared_with_the_one_in_use(store: BlobStore) -> None:
    deliver(store, "acme", LAST - timedelta(days=1))
    first, _ = one_day(store, through=LAST - timedelta(days=1))
    deliver(store, "acme", LAST, days=1, seed=2)
    second, _ = one_day(store)
    assert isinstance(first, ForecastRun)
    assert isinstance(second, ForecastRun)
    assert second.origin == LAST
    assert second.details["champion"] == first.run_id
    assert current(store, "acme") == (second if second.accepted else first)


def test_a_model_that_loses_against_the_naive_is_kept_and_the_forecast_in_use_stays(
    store: BlobStore,
) -> None:
    deliver(store, "acme", LAST - timedelta(days=1))
    first, _ = one_day(store, through=LAST - timedelta(days=1))
    assert isinstance(first, ForecastRun)
    # From here on every week is exactly like the one before, which nothing can beat the seasonal naive at.
    deliver(store, "beat", LAST, noise=False)
    refused, tried = one_day(store, "beat")
    assert isinstance(refused, ForecastRun)
    assert tried is not None
    assert not refused.accepted
    assert "seasonal_naive" in refused.reasons[0]
    assert current(store, "beat") is None
    assert load_run(store, "beat", refused.run_id) == refused
    again, _ = one_day(store, "beat")
    assert isinstance(again, CustomerOutcome)
    assert again.verdict == "unchanged"
    assert refused.reasons[0] in again.line
    assert publication.promote(store, "beat", refused.run_id).verdict == "refused"
    assert current(store, "beat") is None


def test_a_publication_that_was_cut_short_is_completed_by_the_next_run(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    run, _ = one_day(store)
    assert isinstance(run, ForecastRun)
    store.delete("forecast_runs/acme/current.json")
    outcome, _ = one_day(store)
    assert isinstance(outcome, CustomerOutcome)
    assert outcome.verdict == "published"
    assert current(store, "acme") == run


def test_a_forecast_from_an_older_day_does_not_replace_the_one_in_use(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    run, _ = one_day(store)
    outcome, _ = one_day(store, through=LAST - timedelta(days=3))
    assert isinstance(outcome, CustomerOutcome)
    assert outcome.verdict == "skipped"
    assert "in use knows the sales up to 2026-11-22" in outcome.line
    assert current(store, "acme") == run


def test_as_of_an_older_day_no_later_sale_is_used(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    manifest = day.seal_customer(store, "acme", NOW)
    assert manifest is not None
    plan = day.check(store, "acme", manifest, LAST - timedelta(days=10), WEEK, is_trial=True)
    assert plan == Plan(LAST - timedelta(days=10))
    panel = read_panel(store, manifest, plan.origin, WEEK.horizon_days)
    assert panel.day(panel.origin) == plan.origin
    assert not (panel.quantity[:, panel.origin + 1 :] == panel.quantity[:, panel.origin + 1 :]).any()


def test_a_customer_without_enough_sales_is_skipped_with_the_reason(store: BlobStore) -> None:
    deliver(store, "tiny", LAST, days=9)
    outcome, _ = one_day(store, "tiny")
    assert isinstance(outcome, CustomerOutcome)
    assert outcome.verdict == "skipped"
    assert "sales of 9 days" in outcome.line
    nobody, _ = one_day(store, "nobody")
    assert isinstance(nobody, CustomerOutcome)
    assert nobody.line == "nobody: skipped: nothing has been sealed yet"


def test_customers_are_found_before_anything_of_theirs_is_sealed(store: BlobStore) -> None:
    assert day.customers(store) == []
    deliver(store, "zeta", LAST, days=3)
    deliver(store, "acme", LAST, days=3)
    assert day.customers(store) == ["acme", "zeta"]
    day.seal_customer(store, "acme", NOW)
    assert day.customers(store) == ["acme", "zeta"]


def test_an_operator_goes_back_to_an_older_run_and_forward_again(store: BlobStore) -> None:
    deliver(store, "acme", LAST - timedelta(days=1))
    first, _ = one_day(store, through=LAST - timedelta(days=1))
    assert isinstance(first, ForecastRun)
    deliver(store, "acme", LAST, days=1, seed=2)
    second, _ = one_day(store)
    assert isinstance(second, ForecastRun)
    if not second.accepted:
        pytest.fail(f"the sample was to be accepted: {second.reasons}")
    back = publication.promote(store, "acme", first.run_id)
    assert back.verdict == "published"
    assert current(store, "acme") == first
    assert publication.promote(store, "acme", first.run_id).verdict == "unchanged"
    assert publication.promote(store, "acme", None).run_id == second.run_id
    assert current(store, "acme") == second
    assert publication.promote(store, "acme", "no-such-run").verdict == "skipped"


def test_the_backtest_is_read_from_the_record_as_it_was_made(store: BlobStore) -> None:
    deliver(store, "acme", LAST)
    run, tried = one_day(store)
    assert isinstance(run, ForecastRun)
    assert tried is not None
    kept = load_run(store, "acme", run.run_id)
    assert kept is not None
    written = tried.metrics.filter(pl.col("model") == run.model)
    read = backtest_of(kept)
    assert read is not None
    assert read.equals(written)
    manifest = load_manifest(store, "acme", 1)
    assert manifest is not None
    assert run.run_id == run_id_of(LAST, inputs_of(manifest, LAST), WEEK)


@dataclass(frozen=True, slots=True)
class Boastful:
    """A model that forecasts three times what it knows, put in on purpose."""

    name: str = "global_trees"

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> FittedWeekdayMean:
        loud = replace(panel, quantity=panel.quantity * np.float32(3))
        fitted = WeekdayMean("global_trees").fit(loud, origin, horizon_days)
        return BoastfulFitted(fitted.dispersion, fitted.notes, fitted.name)


class BoastfulFitted(FittedWeekdayMean):
    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        return FittedWeekdayMean.predict(
            self, replace(panel, quantity=panel.quantity * np.float32(3)), origin, horizon_days
        )


def test_a_bad_model_put_in_on_purpose_is_refused_and_the_champion_served_as_degraded(
    store: BlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    yesterday = LAST - timedelta(days=1)
    deliver(store, "acme", yesterday)
    champion, _ = one_day(store, through=yesterday)
    assert isinstance(champion, ForecastRun)
    assert champion.accepted
    deliver(store, "acme", LAST, days=1, seed=2)
    manifest = day.seal_customer(store, "acme", NOW)
    assert manifest is not None
    panel = read_panel(store, manifest, LAST, WEEK.horizon_days)
    origins = backtest_origins(panel, WEEK.backtest_origins, WEEK.horizon_days)
    tried = backtest(panel, [Boastful(), SeasonalNaive(), WeekdayMean()], origins, WEEK.horizon_days)
    trained = day.train_model(Boastful(), panel, WEEK.horizon_days)
    verdict = day.judge_run(panel, tried, trained, champion, WEEK)
    said = " ".join(verdict.reasons)
    for words in (
        "worse than", "of the seasonal_naive model", "of the weekday_mean model", "of the published run's model",
        "2 locations were off in sum by more than 30%", "The range from q05 to q95 held",
    ):  # fmt: skip
        assert words in said
    run = publication.run_of(manifest, Plan(LAST), WEEK, tried, trained, verdict, champion, NOW.date())
    kept = publication.publish_run(store, manifest, run, trained, day.model_of(WEEK))
    publication.mark_status(store, outcome_of_run(kept, "refused", kept.reasons), LAST)
    assert current(store, "acme") == champion
    status = load_status(store, "acme")
    assert (status.state, status.since, status.reasons) == ("degraded", LAST, verdict.reasons)
    assert f"run {kept.run_id} of acme is kept and not published" in caplog.text
