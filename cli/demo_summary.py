"""The end of the demo: what happened, beside what had to happen."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import polars as pl
from rich.console import Console

from cli.own_token import own_headers, page_link
from cli.simulate import Deliveries
from cli.tables import backtest_table, deliveries_table, refused_table, titled
from flows.trigger import DailyOutcome
from infra.blobs import BlobStore, open_store
from infra.settings import Settings
from lake.read import Lake
from serving.ports import Delivery
from serving.token_store import TokenStore

REQUEST_TIMEOUT_S = 30.0
DAYS_SHOWN = 7

NO_SALES = pl.DataFrame(
    schema={"customer_id": pl.String, "sale_id": pl.String, "location_id": pl.String, "product_id": pl.String,
            "sold_on": pl.Date, "quantity": pl.Float64, "unit_price": pl.Float64}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """Something that had to hold, and whether it did."""

    text: str
    held: bool


def show(
    settings: Settings,
    console: Console,
    store: BlobStore,
    deliveries: Deliveries,
    ids: Sequence[int],
    reports: Sequence[Delivery],
    waited: str,
    outcome: DailyOutcome,
) -> bool:
    """Print what happened and whether each promise was kept.

    Args:
        settings: Where everything is.
        console: Where to print.
        store: The lake.
        deliveries: What was delivered.
        ids: The id that each delivery was answered with, in their order.
        reports: What became of them.
        waited: What the sales said that had to wait for a location; empty when they were not seen to wait.
        outcome: What the daily flow came to.

    Returns:
        Whether all of it held.
    """
    by_id = {report.delivery_id: report for report in reports}
    console.print(deliveries_table(sorted(reports, key=lambda report: -report.delivery_id)))
    console.print(refused_table(reports))
    if waited:
        console.print(f"While the location was held back, {waited}", markup=False, highlight=False)
    checks = _delivery_checks(deliveries, ids, by_id)
    if deliveries.held is not None:
        checks.append(
            Check("sales accepted after a location that was not yet read waited for it", bool(waited))
        )
    checks += _lake_checks(store, deliveries)
    console.print(backtest_table(outcome))
    checks += _daily_checks(outcome)
    checks.append(_show_forecast(settings, console, outcome))
    for check in checks:
        console.print(f"  {'[green]✓[/]' if check.held else '[red]✗[/]'} {check.text}")
    link = page_link(settings, TokenStore(open_store(settings)))
    text = f"\n  page       {link}  (once, for ten minutes; then `headrace page`)"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"  API        {settings.http_url}/docs")
    console.print(f"  Prefect    {settings.prefect}\n  lake       {settings.lake_url}")
    return all(check.held for check in checks)


def _delivery_checks(deliveries: Deliveries, ids: Sequence[int], reports: dict[int, Delivery]) -> list[Check]:
    wrong = []
    for item, delivery_id in zip(deliveries.items, ids, strict=True):
        expected, report = item.expected, reports[delivery_id]
        if expected.repeat_of is not None:
            first = ids[expected.repeat_of - deliveries.items[0].number]
            right = delivery_id == first
        elif expected.rejected:
            right = report.state == "rejected"
        else:
            found = (report.state, report.records, report.valid, report.invalid, dict(report.by_code))
            right = found == (
                "done",
                expected.records,
                expected.valid,
                expected.invalid,
                dict(expected.by_code),
            )
        if not right:
            wrong.append(f"{item.customer_id}/{item.name}")
    text = f"{len(ids)} deliveries were each answered with the counts that were put into them"
    return [Check(f"{text}; not {', '.join(wrong)}" if wrong else text, not wrong)]


def _lake_checks(store: BlobStore, deliveries: Deliveries) -> list[Check]:
    lake, checks = Lake(store), []
    for customer, sales in deliveries.sales_by_customer.items():
        sealed = lake.sales(customer).polars()
        quantity = deliveries.quantity_by_customer[customer]
        found = (sealed.height, sealed["sale_id"].n_unique(), float(sealed["quantity"].sum()))
        text = f"{customer}: {sealed.height:,} sales sealed, each once, {found[2]:,.2f} sold"
        held = found[:2] == (sales, sales) and abs(found[2] - quantity) < 1e-6 * quantity
        checks.append(Check(text if held else f"{text}; expected {sales:,} and {quantity:,.2f}", held))
    joined = lake.raw("sales_joined").polars()
    places = joined.select("source_partition", "source_offset").n_unique()
    checks.append(Check(f"{joined.height:,} rows in sales_joined, none twice", joined.height == places))
    return checks


def _daily_checks(outcome: DailyOutcome) -> list[Check]:
    checks = [Check(f"the daily run ended in order: {outcome.flow_run_url}", outcome.succeeded)]
    for customer in outcome.customers:
        held = customer.verdict in {"published", "unchanged"}
        checks.append(Check(f"{customer.line} (run {customer.run_id})", held))
        wape = {score.model: score.wape for score in customer.scores}
        naive = wape.get("seasonal_naive")
        if customer.scores and naive is not None:
            best = customer.scores[0]
            gain = f"{1 - best.wape / naive:.0%} better than the seasonal naive"
            checks.append(Check(f"{customer.customer_id}: {best.model} is {gain}", best.wape < naive))
    return checks


def _show_forecast(settings: Settings, console: Console, outcome: DailyOutcome) -> Check:
    """Ask the endpoint for the forecast of one series, as a customer would."""
    if not outcome.customers:
        return Check("no customer has a forecast to ask for", held=False)
    customer = outcome.customers[0].customer_id
    query = {"customer_id": customer, "limit": str(settings.flow.horizon_days)}
    answer = httpx.get(
        f"{settings.http_url}/v1/forecasts",
        params=query,
        headers=own_headers(settings),
        timeout=REQUEST_TIMEOUT_S,
    )
    if answer.status_code != httpx.codes.OK:
        return Check(f"GET {answer.url} answered {answer.status_code}: {answer.text}", held=False)
    rows = answer.json()["forecasts"]
    first = rows[0]
    title = f"{customer}, {first['location_id']}, {first['product_id']}: the first of {len(rows)} days"
    table = titled(title, "date")
    for name in ("q05", "q50", "mean", "q95"):
        table.add_column(name, justify="right")
    for row in rows[:DAYS_SHOWN]:
        table.add_row(row["date"], *(f"{row[name]:.2f}" for name in ("q05", "q50", "mean", "q95")))
    console.print(table)
    return Check(
        f"the endpoint serves forecasts of {customer}: GET {answer.url}",
        len(rows) == settings.flow.horizon_days,
    )
