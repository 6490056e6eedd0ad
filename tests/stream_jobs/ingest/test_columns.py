"""Text to typed columns."""

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_jobs.ingest.columns import _plain_times, _times

TIME_LIKE = st.from_regex(
    r"\A[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9])?(\.[0-9]{1,6})?"
    r"(Z|[+-][0-2][0-9](:?[0-5][0-9])?)\Z"
)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.none() | TIME_LIKE, max_size=3))
@example(["2026-05-01T10:00:00.1234Z", None])
@example(["2026-05-01 10:00:00+02:00", "2026-05-01T08:00:00Z"])
@example(["2026-02-29T10:00:00Z"])
@example(["2026-05-01T10:00:60Z"])
@example(["2026-05-01T24:00:00Z"])
@example(["2026-05-01T10:00:00+24:00"])
@example(["0000-05-01T10:00:00Z"])
@example(["2026-05-01t10:00:00z"])
def test_times_that_arrow_reads_are_read_as_by_the_forms(texts: list[str | None]) -> None:
    series = pl.Series(texts, dtype=pl.String)
    plain = _plain_times(series)
    assert plain is None or plain.equals(_times(series)), texts


def test_times_as_programs_write_them_are_read_by_arrow() -> None:
    for text in ("2026-05-01T14:30:00Z", "2026-05-01T14:30:00+02:00", "2026-05-01 14:30:00-05:30"):
        assert _plain_times(pl.Series([text, None])) is not None
