"""The words for what a day came to."""

import pytest

from flows.outcome import STATE_NAMES, CustomerOutcome, Verdict, joint_verdict, verdict_of_state


def test_every_verdict_is_read_back_from_the_state_that_it_names() -> None:
    for verdict, name in STATE_NAMES.items():
        assert verdict_of_state(name, is_completed=verdict != "failed") == verdict


def test_what_did_not_complete_has_failed_whatever_its_state_is_called() -> None:
    assert verdict_of_state("Published", is_completed=False) == "failed"
    assert verdict_of_state("Crashed", is_completed=False) == "failed"
    assert verdict_of_state(None, is_completed=False) == "failed"


@pytest.mark.parametrize(
    ("verdicts", "joint"),
    [
        (["published", "failed", "refused"], "failed"),
        (["published", "refused", "skipped"], "refused"),
        (["unchanged", "published"], "published"),
        (["unchanged", "skipped"], "skipped"),
        (["unchanged"], "unchanged"),
        ([], "skipped"),
    ],
)
def test_no_failure_or_refusal_hides_behind_another_customer(verdicts: list[Verdict], joint: Verdict) -> None:
    assert joint_verdict([CustomerOutcome("acme", verdict) for verdict in verdicts]) == joint


def test_an_outcome_reads_as_one_line() -> None:
    assert CustomerOutcome("acme", "published").line == "acme: published"
    assert CustomerOutcome("acme", "refused", ("a", "b")).line == "acme: refused: a; b"
