"""The service against its own description, with requests that schemathesis makes up.

A cursor, a code or a pair of days may be well-formed and still not be valid, which a description cannot say: that such
requests are refused is right.
"""

from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

EXAMPLES_MAX = 15
"""Requests made up for each operation: enough for each kind of parameter, few enough for every run of the tests."""


def test_every_answer_is_as_the_reference_says(app: FastAPI, headers: dict[str, str]) -> None:
    app.state.service.events.stop()  # Who listens is told what is new, and let go.
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    asked = set()
    for found in described.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES_MAX,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        def holds(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

        holds()
        asked.add(operation.label)
    assert len(asked) == 23
