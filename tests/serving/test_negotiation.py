import pytest

from serving.negotiation import Format, choose
from serving.problems import Problem

ALL = tuple(Format)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Format.JSON),
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.JSON),
        ("text/csv", Format.CSV),
        ("TEXT/CSV; charset=utf-8", Format.CSV),
        ("text/*", Format.CSV),
        ("application/vnd.apache.parquet", Format.PARQUET),
        ("application/json;q=0.2, application/vnd.apache.arrow.stream;q=0.9", Format.ARROW),
        ("application/json;q=0, */*", Format.CSV),
        ("*/*;q=0.1, text/csv;q=0.05, application/*;q=0.3", Format.JSON),
        ("nonsense, text/csv;q=0.5", Format.CSV),
    ],
)
def test_the_closest_range_with_the_greatest_weight_decides(accept: str | None, expected: Format) -> None:
    assert choose(accept, None, ALL) is expected


@pytest.mark.parametrize(
    "accept", ["text/html", "image/*", "application/json;q=0", "text/csv;q=abc", "*/html"]
)
def test_a_type_that_cannot_be_made_is_refused_with_the_types_that_can(accept: str) -> None:
    with pytest.raises(Problem, match=r"text/csv \(format=csv\)") as found:
        choose(accept, None, ALL)
    assert found.value.kind.status == 406


def test_the_parameter_wins_over_the_header() -> None:
    assert choose("text/csv", Format.ARROW, ALL) is Format.ARROW
    with pytest.raises(Problem):
        choose("*/*", Format.ARROW, (Format.JSON, Format.CSV))
