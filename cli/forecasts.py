"""`headrace daily`, `forecast`, `explain` and `reproduce`: forecasts made, written, taken apart and made again."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.tables import backtest_table, explanation_table, terminal
from flows.customer_day import customers
from flows.explaining import explain_forecast
from flows.forecast_file import make_forecast_file
from flows.reproduction import reproduce as make_again
from flows.trigger import run_daily
from infra.blobs import BlobStore, open_dataset
from infra.errors import FaultError, SettingError
from infra.settings import load_settings

Day = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d"],
        help="Last day whose sales count; by default yesterday, and the days missed before it.",
        show_default=False,
    ),
]
OneCustomer = Annotated[
    str | None,
    typer.Option(help="The customer; needed when the lake has several.", show_default=False),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands that forecast to the command line."""
    app.command()(daily)
    app.command()(forecast)
    app.command()(explain)
    app.command()(reproduce)


def daily(
    customer: Annotated[str | None, typer.Option(help="Only this customer.", show_default=False)] = None,
    as_of: Day = None,
    accept: Annotated[
        list[datetime] | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Take this day as it is, however it looks; may be repeated.",
            show_default=False,
        ),
    ] = None,
    wait_s: Annotated[float, typer.Option("--wait", min=1, help="Wait so many seconds at most.")] = 3600,
) -> None:
    """Run the daily flow now: seal, check the new days, backtest, train, gate, publish; missed days too."""
    settings, console = load_settings(), terminal()
    with console.status("the daily flow: seal, backtest, train, gate, publish"):
        days = [day.date() for day in accept or ()]
        outcome = run_daily(settings, customer, wait_s, as_of.date() if as_of else None, days)
    console.print(backtest_table(outcome))
    for found in outcome.customers:
        console.print(found.line, markup=False, highlight=False)
    console.print(outcome.flow_run_url, markup=False, highlight=False)
    if not outcome.succeeded:
        raise FaultError(f"the daily run ended {outcome.state}: {outcome.message}")


def forecast(
    out: Annotated[Path, typer.Option(help="Parquet file to write.", show_default=False)],
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Last day whose sales are used; the last sealed day by default.",
            show_default=False,
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(min=1, max=366, help="Days to forecast; HEADRACE_FLOW__HORIZON_DAYS by default."),
    ] = None,
    customer: OneCustomer = None,
) -> None:
    """Forecast the days after any day from the sealed sales, into a file. Nothing is sealed, judged or published."""
    settings, console = load_settings(), terminal()
    store = open_dataset(settings)
    wanted = settings.flow.model_copy(update={"horizon_days": horizon or settings.flow.horizon_days})
    with console.status("reading, training, forecasting"):
        made = make_forecast_file(
            store, only_customer(store, customer), as_of.date() if as_of else None, wanted
        )
    out.write_bytes(made.data)
    console.print(f"{made.line}: {out}", markup=False, highlight=False, soft_wrap=True)


def explain(
    location: Annotated[str, typer.Option(help="Id of the location.", show_default=False)],
    product: Annotated[str, typer.Option(help="Id of the product.", show_default=False)],
    day: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The day that is forecast.", show_default=False)
    ],
    customer: OneCustomer = None,
    run_id: Annotated[
        str | None, typer.Option("--run", help="The run; the one in use by default.", show_default=False)
    ] = None,
    features: Annotated[int, typer.Option(min=1, help="Features shown, those that changed most.")] = 12,
) -> None:
    """Show what the forecast of one location, product and day was made of, beside what simple models say."""
    settings, console = load_settings(), terminal()
    store = open_dataset(settings)
    with console.status("reading what the forecast was made from"):
        run, found = explain_forecast(
            store, only_customer(store, customer), location, product, day.date(), run_id
        )
    console.print(explanation_table(f"{product} at {location}, {day.date()}", found, features))
    quantiles = ", ".join(f"{value:g}" for value in found.quantiles)
    console.print(f"quantiles q05 to q95: {quantiles}", highlight=False)
    if not found.on_sale:
        console.print("not on sale on that day by the plan: the forecast is 0")
    for line in (f"run {run.run_id}, model {run.model}, manifest {run.manifest}", *found.notes):
        console.print(line, markup=False, highlight=False)


def reproduce(
    run_id: Annotated[
        str | None, typer.Argument(help="The run; the one in use by default.", show_default=False)
    ] = None,
    customer: OneCustomer = None,
    out: Annotated[
        Path | None, typer.Option(help="Parquet file to write the forecast into.", show_default=False)
    ] = None,
) -> None:
    """Make a run again from its model's manifest, and tell whether its forecast is the same, byte for byte."""
    settings, console = load_settings(), terminal()
    store = open_dataset(settings)
    with console.status("reading, training, forecasting"):
        made = make_again(store, only_customer(store, customer), run_id)
    if out is not None:
        out.write_bytes(made.data)
    verdict = "the same forecast" if made.identical else f"another forecast, expected {made.expected_sha256}"
    console.print(
        f"{made.run_id}: {verdict}, sha256 {made.forecast_sha256}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    for line in made.differences:
        console.print(line, markup=False, highlight=False)
    if not made.identical:
        raise typer.Exit(1)


def only_customer(store: BlobStore, named: str | None) -> str:
    """The customer that is named, or the only one there is.

    Raises:
        SettingError: None is named, and the lake has none or several.
    """
    if named:
        return named
    found = customers(store)
    if len(found) != 1:
        there = ", ".join(found) or "none"
        raise SettingError(f"--customer: expected the name of a customer, for the lake has {there}")
    return found[0]
