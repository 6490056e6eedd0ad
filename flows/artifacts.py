"""Shows a forecast run in the Prefect UI: its backtest, its verdict, and a picture.

Guarantee: what is shown is made from what was judged and published, and shows the same numbers. An
artifact's key names the customer, so the newest of each customer stands first and the earlier ones below
it.
"""

from collections.abc import Sequence
from datetime import date

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows import report
from flows.customer_day import BASELINE, Trained
from flows.outcome import STATE_NAMES, CustomerOutcome
from infra.blobs import open_dataset
from infra.settings import Settings
from lake.forecasts import ForecastRun
from lake.manifests import manifest_path
from ml.backtest import Backtest
from ml.day_checks import DayFinding
from ml.panel import Panel


def show_run(
    settings: Settings,
    run: ForecastRun,
    outcome: CustomerOutcome,
    panel: Panel,
    tried: Backtest,
    trained: Trained,
) -> None:
    """Create the artifacts of a run within the flow run that made it."""
    customer = run.customer_id
    about = f"{customer}, sales up to {run.origin}, run {run.run_id}"
    create_table_artifact(
        key=_key("backtest", customer),
        table=report.backtest_table(tried, BASELINE),
        description=f"Backtest: {about}. Each model forecast {run.horizon_days} days that it had not seen.",
    )
    create_markdown_artifact(
        key=_key("forecast", customer),
        markdown=report.forecast_markdown(
            f"{customer}: the {run.horizon_days} days after {run.origin}",
            panel,
            tried,
            trained.rows,
            run.model,
            BASELINE,
        ),
        description=f"Forecast: {about}",
    )
    create_markdown_artifact(
        key=_key("gate", customer),
        markdown=report.verdict_markdown(
            f"{customer}: {STATE_NAMES[outcome.verdict].lower()}",
            facts_of(run),
            run.reasons,
            run.details["remarks"],
            links_of(settings, run) if outcome.verdict != "tried" else {},
            champion=run.details["champion"],
        ),
        description=f"Gate: {about}",
    )


def show_findings(customer_id: str, origin: date, findings: Sequence[DayFinding]) -> None:
    """Create the artifact of what the checks of the sealed days found, within the flow run that checked them."""
    rows = [
        {
            "Day": f"{one.day}",
            "What": one.code,
            "Found": one.text,
            "Stops training": "yes" if one.is_broken else "no",
        }
        for one in findings
    ]
    create_table_artifact(
        key=_key("days", customer_id),
        table=rows,
        description=f"Sealed days that are not as usual: {customer_id}, sales up to {origin}",
    )


def facts_of(run: ForecastRun) -> dict[str, str]:
    """What a run is, in words."""
    return {
        "Run": run.run_id,
        "Model": run.model,
        "Trained on": f"manifest {run.manifest}, {run.details['rows']:,} rows of daily sums",
        "Sales known until": f"{run.origin}",
        "Days forecast": f"{run.horizon_days}",
        "Series forecast": f"{run.details['series']:,}",
        "Compared with": f"{BASELINE}, and {run.details['champion'] or 'no earlier run'}",
        "Made on": f"{run.made_on}",
    }


def links_of(settings: Settings, run: ForecastRun) -> dict[str, str]:
    """Where a run lies, and where it is served."""
    store = open_dataset(settings)
    places = {"Forecasts": store.uri(run.rows_path), "Record": store.uri(run.path)}
    if run.model_path:
        places["Model"] = store.uri(run.model_path)
    places["Manifest"] = store.uri(manifest_path(run.customer_id, run.manifest))
    page = f"{settings.http_url}/?customer={run.customer_id}"
    return {"Page": page, **places}


def _key(kind: str, customer_id: str) -> str:
    """An artifact's key holds no underscore; a customer's id may."""
    return f"{kind}-{customer_id.replace('_', '--')}"
