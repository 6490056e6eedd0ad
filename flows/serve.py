"""The process that runs the flows.

Guarantee: importing this module does not import Prefect, which takes seconds. `run_flows` ends only when
told to stop, or by raising; schedules go on over its restart. A run under way when it stops is cancelled, and one
that it was killed in is begun again by the next: a step leaves its whole object in the lake or none, and a run goes on
from what is there.
"""

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from flows.trigger import DailyOutcome, run_daily
from infra import telemetry
from infra.errors import UnavailableError
from infra.prefect_server import prefect_environment, wait_for_prefect
from infra.settings import Settings, settings_environment

if TYPE_CHECKING:
    from prefect.runner import Runner

logger = logging.getLogger(__name__)

__all__ = ["DailyOutcome", "run_daily", "run_flows"]

STOP_POLL_S = 0.2
"""Time between two looks at `stop`, seconds."""

RUNS_MAX = 3
"""Runs at once in this process: a promotion or a seal does not wait for a training."""

POLL_S = 5.0
"""Time between two looks for runs that are due, seconds. Prefect's runner gives up after three looks in a row
at a server that does not answer, so this is a third of the longest restart of the server that it outlives."""


def run_flows(settings: Settings, stop: threading.Event) -> None:
    """Serve the deployments until `stop` is set; call it in a process of its own, before Prefect is imported.

    The settings reach the processes of the runs through this process's environment, so they are the ones
    given here whatever folder a run starts in.

    Raises:
        MissingPartError: No Prefect server answers within two minutes.
        UnavailableError: The server was lost and did not come back.
    """
    os.environ.update(settings_environment(settings) | prefect_environment(settings))
    # Threads that wait by spinning slow each other down many times over when anything else wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    wait_for_prefect(settings)

    from prefect.runner import Runner

    from flows.alerts import apply_alerts
    from flows.deployments import deployments
    from flows.takeover import take_over

    runner = Runner(name="headrace", pause_on_shutdown=False, limit=RUNS_MAX, query_seconds=POLL_S)
    served = deployments(settings)
    for deployment in served:
        runner.add_deployment(deployment)
    apply_alerts(settings)
    if count := take_over([deployment.name for deployment in served]):
        logger.warning("%d runs of a process that ended without them are begun again", count)
    # Outside the main thread Prefect leaves the process's signal handlers to the caller, who owns `stop`.
    with ThreadPoolExecutor(1, "prefect-runner") as thread:
        running = thread.submit(asyncio.run, _serve(runner, stop))
    error = running.exception()
    if error is not None and not stop.is_set():
        raise UnavailableError(
            f"The runner of the flows lost the Prefect server at {settings.prefect}; start it again"
        ) from error


async def _serve(runner: "Runner", stop: threading.Event) -> None:
    """Run the runner until `stop` is set, or it gives up by itself."""
    serving = asyncio.create_task(runner.start())
    while not (stop.is_set() or serving.done()):
        telemetry.ready.set(int(runner.started))
        await asyncio.sleep(STOP_POLL_S)
    telemetry.ready.set(0)
    if runner.started and not serving.done():
        await runner.astop()
    await serving
