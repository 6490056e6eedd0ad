"""The bucket of requests."""

from hypothesis import given
from hypothesis import strategies as st

from serving.rates import Rates


@given(st.floats(0.5, 50), st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_nobody_gets_more_than_the_rate_and_a_second_of_it_ahead(per_s: float, pauses: list[float]) -> None:
    rates, now_s, answered = Rates(), 100.0, 0
    for pause in pauses:
        now_s += pause
        answered += rates.wait_s("somebody", per_s, now_s) == 0.0
    assert answered <= per_s * (now_s - 100.0) + max(per_s, 1.0) + 1e-6


def test_after_the_wait_that_was_told_a_request_is_answered() -> None:
    rates, now_s = Rates(), 5.0
    assert rates.wait_s("a", 0.5, now_s) == 0.0
    wait_s = rates.wait_s("a", 0.5, now_s)
    assert wait_s == 2.0
    assert rates.wait_s("a", 0.5, now_s + wait_s) == 0.0


def test_who_was_not_heard_of_longest_is_forgotten_first() -> None:
    rates = Rates(callers_max=2)
    for caller in ("a", "b", "c"):
        assert rates.wait_s(caller, 1.0, 0.0) == 0.0
    assert rates.wait_s("a", 1.0, 0.0) == 0.0
    assert rates.wait_s("c", 1.0, 0.0) > 0.0
