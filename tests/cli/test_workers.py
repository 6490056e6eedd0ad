"""Several workers of a job on one machine: which there are, and how a person asks for them."""

from collections import Counter

import pytest

from cli.operate import workers_asked
from cli.parts import SCALED, WORKERS_MAX, stack_parts, workers_of
from infra.errors import SettingError
from infra.settings import Settings


def test_each_worker_has_a_name_and_a_port_of_its_own_that_stay_when_others_come(
    offline_settings: Settings,
) -> None:
    few = {part.part.name: part for part in stack_parts(offline_settings, {"join": 2})}
    many = {
        part.part.name: part for part in stack_parts(offline_settings, dict.fromkeys(SCALED, WORKERS_MAX))
    }
    assert few.keys() - {part.part.name for part in stack_parts(offline_settings)} == {"join-1"}
    assert "--worker" in few["join-1"].part.command
    assert {name: part.port for name, part in few.items()}.items() <= {
        name: part.port for name, part in many.items()
    }.items()
    assert set(Counter(part.port for part in many.values()).values()) == {1}
    assert workers_of(many) == dict.fromkeys(SCALED, WORKERS_MAX)
    assert workers_of(few) == {"validate": 1, "join": 2, "sink": 1, "window": 1}


@pytest.mark.parametrize(
    "text", ["validate", "validate=0", "validate=x", "report=2", f"join={WORKERS_MAX + 1}"]
)
def test_what_cannot_be_meant_is_answered_with_what_can(text: str) -> None:
    with pytest.raises(SettingError, match=r"expected JOB=NUMBER with a job of validate, join, sink, window"):
        workers_asked([text])


def test_workers_of_several_jobs_are_asked_for_at_once() -> None:
    assert workers_asked(["validate=3", "join=2"]) == {"validate": 3, "join": 2}
