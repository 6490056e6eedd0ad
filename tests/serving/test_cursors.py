import base64

import pytest

from serving import cursors
from serving.problems import Problem

QUERY = ("forecasts", "acme", None, "milk")


def test_a_cursor_says_what_it_was_made_of() -> None:
    assert cursors.decode_number(cursors.encode(QUERY, "run-1", 28), QUERY) == ("run-1", 28)
    assert cursors.decode_text(cursors.encode(QUERY, "", "größe/1"), QUERY) == "größe/1"


def test_a_cursor_of_another_query_is_refused() -> None:
    cursor = cursors.encode(QUERY, "run-1", 28)
    with pytest.raises(Problem, match="other parameters"):
        cursors.decode_number(cursor, ("forecasts", "acme", "milk", None))


@pytest.mark.parametrize("position", [-1, True, "7", 1.5, None])
def test_a_cursor_without_a_position_is_refused(position: int) -> None:
    with pytest.raises(Problem, match="no position"):
        cursors.decode_number(cursors.encode(QUERY, "", position), QUERY)


@pytest.mark.parametrize(
    "cursor",
    ["", "%%%", "é", "a", "AAAA", base64.urlsafe_b64encode(b"[1]").decode(), "W10", "bnVsbA", "x" * 499],
)
def test_damaged_text_is_refused_and_breaks_nothing(cursor: str) -> None:
    with pytest.raises(Problem) as found:
        cursors.decode_number(cursor, QUERY)
    assert found.value.kind.status == 400
