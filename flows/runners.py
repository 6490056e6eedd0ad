"""Where the fits of a run take place, by one setting; and how long their results are kept for a run that is restarted.

Guarantee: importing this module does not import Dask. A fit that has ended is not done again by a later run of the
same work with the same code, also when the run that did it was killed.
"""

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.context import TaskRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.fits import Work
from infra.code_version import code_version
from infra.errors import MissingPartError
from infra.settings import FlowSettings

RESULTS_KEPT = timedelta(days=2)


def runner_of(flow: FlowSettings) -> TaskRunner[Any]:
    """The task runner that the settings name.

    Raises:
        MissingPartError: Dask is wanted and not installed.
    """
    if flow.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=flow.workers)
    if flow.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=flow.workers)
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise MissingPartError(
            "HEADRACE_FLOW__RUNNER=dask: expected prefect-dask, found none; install headrace[dask]"
        ) from error
    here = {"n_workers": flow.workers, "threads_per_worker": 1, "dashboard_address": None}
    runner: TaskRunner[Any] = (
        DaskTaskRunner(address=flow.dask_address)
        if flow.dask_address
        else DaskTaskRunner(cluster_kwargs=here)
    )
    return runner


def result_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Under which name the result of a fit is kept: the work, the piece of it, and the code."""
    work: Work = parameters["work"]
    piece = "-".join(str(value) for name, value in sorted(parameters.items()) if name != "work")
    code = (code_version()["sources_sha256"] or "")[:16]
    return f"{work.customer_id}-{work.key}-{context.task.name}-{piece}-{code}".replace(" ", "-")


def forget_results(folder: Path, now_s: float | None = None) -> int:
    """Delete kept results that no run will ask for any more; returns how many.

    Args:
        folder: Where Prefect keeps results.
        now_s: The time, seconds since 1970; None means now.
    """
    oldest_s = (time.time() if now_s is None else now_s) - RESULTS_KEPT.total_seconds()
    count = 0
    for path in folder.glob("*") if folder.is_dir() else ():
        # Another run may be forgetting the same ones.
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < oldest_s:
                path.unlink()
                count += 1
    return count
