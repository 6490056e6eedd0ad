"""When a step is tried again."""

from typing import Any

import pytest

from infra.errors import CommitUnknownError, CorruptLakeError, HeadraceError, UnavailableError
from infra.settings import Settings


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UnavailableError("away"), True),
        (CommitUnknownError("who knows"), True),
        (CorruptLakeError("broken"), False),
        (MemoryError(), False),
    ],
)
def test_only_a_lake_that_did_not_answer_is_asked_again(
    prefect_server: Settings, error: HeadraceError, again: bool
) -> None:
    from prefect import flow

    from flows.tasks import _lake_step

    calls = []

    def step() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise error
        return "done"

    task: Any = _lake_step("step", step).with_options(retry_delay_seconds=[0, 0, 0, 0], retry_jitter_factor=0)

    @flow(name="retries")
    def once() -> str:
        return str(task())

    state = once(return_state=True)
    assert state.is_completed() == again
    assert len(calls) == (3 if again else 1)


def test_every_step_has_a_longest_duration_and_only_those_on_the_lake_are_repeated(
    prefect_server: Settings,
) -> None:
    from prefect.tasks import Task

    from flows import tasks

    steps = {task.name: task for task in vars(tasks).values() if isinstance(task, Task)}
    kept = {name for name, task in steps.items() if task.persist_result}
    assert kept == {"backtest", "train and forecast"}
    assert all(task.timeout_seconds for name, task in steps.items() if name not in kept)
    repeated = {name for name, task in steps.items() if task.retries}
    assert repeated == {
        "list customers", "seal", "find the days that are due", "check", "check the sealed days",
        "see whether the day is whole", "read the panel", "backtest", "train and forecast",
        "find the champion", "look for corrections", "publish", "mark the forecast", "promote",
    }  # fmt: skip
