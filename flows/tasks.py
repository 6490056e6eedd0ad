"""The steps of a customer's day as Prefect tasks: how long each may take, and when it is tried again.

Guarantee: only a step that talks to the lake is tried again, with growing pauses, and only when the lake
did not answer. A step that merely computes would end the same way. A fit that has ended is not done again by a run
that is restarted.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from flows import corrections, day_checks, fits, publication
from flows import customer_day as steps
from flows.artifacts import show_findings, show_run
from flows.runners import RESULTS_KEPT, result_key
from infra.errors import UnavailableError

LAKE_STEP_S, SHOW_S = 2 * 3600, 600
"""Longest duration of each kind of step, seconds; one that takes longer hangs."""
RETRIES = 4
FIRST_PAUSE_S = 5.0
"""Pause before the first retry, seconds; each further one is twice as long, with a random part."""

P = ParamSpec("P")
R = TypeVar("R")


def lake_is_away(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether trying again can help: only when the lake did not answer."""
    return isinstance(state.result(raise_on_failure=False), UnavailableError)


def _lake_step(name: str, act: Callable[P, R]) -> Task[P, R]:
    """A task around a step that reads or writes the lake."""
    return task(
        name=name,
        task_run_name=name,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(FIRST_PAUSE_S),
        retry_jitter_factor=0.5,
        retry_condition_fn=lake_is_away,
        timeout_seconds=LAKE_STEP_S,
        # Frames and models are no cache keys, and each step asks the lake whether it has been done.
        cache_policy=NO_CACHE,
    )(act)


def _fit_step(name: str, run_name: str, act: Callable[P, R]) -> Task[P, R]:
    """A task around a fit: it may run elsewhere, reads the lake, and is not done again once it has ended.

    It has no longest duration of its own, since nothing can interrupt it in a thread; the flow's bounds it.
    """
    return task(
        name=name,
        task_run_name=run_name,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(FIRST_PAUSE_S),
        retry_jitter_factor=0.5,
        retry_condition_fn=lake_is_away,
        cache_key_fn=result_key,
        cache_expiration=RESULTS_KEPT,
        persist_result=True,
    )(act)


def _work_step(name: str, act: Callable[P, R], timeout_s: float) -> Task[P, R]:
    """A task around a step that only computes."""
    return task(name=name, task_run_name=name, timeout_seconds=timeout_s, cache_policy=NO_CACHE)(act)


list_customers = _lake_step("list customers", steps.customers)
seal = _lake_step("seal", steps.seal_customer)
find_days = _lake_step("find the days that are due", steps.days_to_forecast_from)
check = _lake_step("check", steps.check)
check_days = _lake_step("check the sealed days", day_checks.check_sealed_days)
day_is_due = _lake_step("see whether the day is whole", day_checks.day_is_due)
read_panel = _lake_step("read the panel", fits.panel_of)
try_one = _fit_step("backtest", "backtest {model} from day {origin}", fits.try_one)
train = _fit_step("train and forecast", "train and forecast", fits.train_one)
find_champion = _lake_step("find the champion", steps.champion_of)
find_corrections = _lake_step("look for corrections", corrections.corrections)
judge = _work_step("gate", steps.judge_run, SHOW_S)
publish = _lake_step("publish", publication.publish_run)
mark_status = _lake_step("mark the forecast", publication.mark_status)
promote = _lake_step("promote", publication.promote)
show_days = _work_step("show the days", show_findings, SHOW_S)
show = _work_step("show", show_run, SHOW_S)
