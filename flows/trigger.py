"""Start a run of the daily flow from another process, follow it, and say what became of it.

Guarantee: importing this module does not import Prefect. The run takes place in the process that serves the
flows and shows in Prefect's UI like a scheduled one; giving up waiting for it does not stop it.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from flows.outcome import CUSTOMER_TAG, RUN_TAG, CustomerOutcome, outcome_of_run, verdict_of_state
from infra.blobs import BlobStore, open_dataset
from infra.errors import MissingPartError, UnavailableError
from infra.prefect_server import prefect_environment, prefect_is_ready
from infra.settings import Settings
from lake.forecasts import load_run

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

FOLLOW_S = 1.0
"""Time between two looks at a run that is followed, seconds."""

CUSTOMERS_MAX = 200
"""Customers' runs asked for at once: Prefect's own limit of a page."""


@dataclass(frozen=True, slots=True)
class DailyOutcome:
    """What became of a run of the daily flow.

    Attributes:
        flow_run_id: Prefect's id of the run.
        flow_run_url: Its page in Prefect's UI.
        state: Name of its final state: that of a verdict, or Prefect's own for a run that broke.
        succeeded: Whether it ended in order. A refused forecast is in order; a step that broke is not.
        message: The final state's own words.
        customers: What became of each customer, by id.
    """

    flow_run_id: str
    flow_run_url: str
    state: str
    succeeded: bool
    message: str
    customers: tuple[CustomerOutcome, ...]


def run_daily(
    settings: Settings,
    customer_id: str | None = None,
    timeout_s: float = 3600.0,
    as_of: date | None = None,
    accept: Sequence[date] = (),
) -> DailyOutcome:
    """Run the daily flow now, and wait for its end.

    Args:
        settings: Where the Prefect server and the lake are.
        customer_id: The customer; None means each that has sales in the lake.
        timeout_s: Longest wait for the run's end, seconds.
        as_of: The last day whose sales count; None means yesterday, and the days missed before it.
        accept: Days that are taken as they are, however they look.

    Raises:
        MissingPartError: The server does not answer, or no process has ever served the daily flow.
        UnavailableError: The run did not end in time; it goes on, and the text says where to look.
    """
    if not prefect_is_ready(settings):
        raise MissingPartError(
            f"Expected a Prefect server at {settings.prefect}, found none; start it with `headrace up`"
        )
    with _prefect_client(settings) as client:
        started = _start(client, customer_id, as_of, accept)
        url = f"{settings.prefect.rstrip('/')}/runs/flow-run/{started.id}"
        ended = _follow(client, started.id, url, timeout_s)
        days = _customer_days(client, started.id)
        state = ended.state
        return DailyOutcome(
            flow_run_id=str(started.id),
            flow_run_url=url,
            state=(state.name if state else None) or "Unknown",
            succeeded=state is not None and state.is_completed(),
            message=(state.message if state else None) or "",
            customers=tuple(_customer_outcome(open_dataset(settings), day) for day in days),
        )


@contextmanager
def _prefect_client(settings: Settings) -> "Iterator[SyncPrefectClient]":
    """A client of the server in the settings, also when Prefect was imported before with other ones."""
    os.environ.update(prefect_environment(settings))

    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}),
        get_client(sync_client=True) as client,
    ):
        yield client


def _start(
    client: "SyncPrefectClient", customer_id: str | None, as_of: date | None, accept: Sequence[date]
) -> "FlowRun":
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Scheduled

    try:
        deployment = client.read_deployment_by_name("daily/daily")
    except ObjectNotFound as error:
        raise MissingPartError(
            "Expected the deployment daily/daily on the Prefect server, found none; "
            "start the process that serves the flows with `headrace up`"
        ) from error
    parameters = {
        "customer_id": customer_id,
        "as_of": as_of.isoformat() if as_of else None,
        "accept": [day.isoformat() for day in accept],
    }
    # The key makes the request safe to repeat, nothing more: a second call is to look at the lake again.
    return client.create_flow_run_from_deployment(
        deployment.id, parameters=parameters, state=Scheduled(), idempotency_key=str(uuid4())
    )


def _follow(client: "SyncPrefectClient", flow_run_id: UUID, url: str, timeout_s: float) -> "FlowRun":
    deadline = time.monotonic() + timeout_s
    while True:
        flow_run = client.read_flow_run(flow_run_id)
        if flow_run.state is not None and flow_run.state.is_final():
            return flow_run
        if time.monotonic() > deadline:
            name = flow_run.state.name if flow_run.state else "unknown"
            raise UnavailableError(
                f"Expected the daily run to end within {timeout_s:.0f} s, found it {name}; follow it "
                f"at {url}. A run that stays Late or Scheduled has no process that serves it: "
                "see `headrace status`"
            )
        time.sleep(FOLLOW_S)


def _customer_days(client: "SyncPrefectClient", flow_run_id: UUID) -> "Sequence[FlowRun]":
    """The runs of the single customers within a daily run, by customer."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
    from prefect.client.schemas.sorting import FlowRunSort

    within = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
    found: list[FlowRun] = []
    while page := client.read_flow_runs(
        flow_run_filter=within, sort=FlowRunSort.ID_DESC, limit=CUSTOMERS_MAX, offset=len(found)
    ):
        found.extend(page)
    return sorted(found, key=lambda run: _tagged(run.tags, CUSTOMER_TAG) or "")


def _customer_outcome(store: BlobStore, day: "FlowRun") -> CustomerOutcome:
    """What a customer's run came to, with the scores that its record in the lake holds."""
    state = day.state
    verdict = verdict_of_state(state.name if state else None, state is not None and state.is_completed())
    customer_id = _tagged(day.tags, CUSTOMER_TAG) or day.name
    message = (state.message if state else None) or ""
    # The state's words are those of `CustomerOutcome.line`, or Prefect's own after a failure.
    reason = message.removeprefix(CustomerOutcome(customer_id, verdict).line).removeprefix(": ")
    reasons = (reason,) if reason else ()
    run_id = _tagged(day.tags, RUN_TAG)
    run = load_run(store, customer_id, run_id) if run_id else None
    return outcome_of_run(run, verdict, reasons) if run else CustomerOutcome(customer_id, verdict, reasons)


def _tagged(tags: Sequence[str], prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)
