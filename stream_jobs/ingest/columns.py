"""Text as it stood in a file → typed columns, with what could not be read said in words.

Pure. Guarantee: no value is guessed. One that does not read as its field's kind becomes a null, and the
record's `defect` says which field, what was expected and what was found. Blank text is a missing value; white
space around a value is dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl
import pyarrow as pa

from infra.errors import DeliveryError
from stream_jobs.ingest.blocks import Block, Limits
from stream_jobs.ingest.contents import Content, Field, Kind

TIME = pl.Datetime("us", "UTC")
DTYPES: dict[Kind, pl.DataType] = {
    "text": pl.String(),
    "number": pl.Float64(),
    "time": TIME,
    "date": pl.Date(),
    "flag": pl.Boolean(),
}

YEARS = (1900, 2200)
FOUND_CHARS_MAX = 60

_EXPECTED: dict[Kind, str] = {
    "number": "a number such as 12.5",
    "time": f"an ISO 8601 time such as 2026-05-01T14:30:00+02:00, between {YEARS[0]} and {YEARS[1]}",
    "date": f"a date such as 2026-05-01, between {YEARS[0]} and {YEARS[1]}",
    "flag": "true or false",
}
# Without an offset a time is UTC. The common form stands first: the others are tried on what it leaves.
_TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%dT%H:%M",
)
_PLAIN_TIME_SIZES = [len("2026-05-01T14:30:00Z"), len("2026-05-01T14:30:00+02:00")]
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_CONTROL = r"[\x00-\x1F\x7F]"


@dataclass(frozen=True, slots=True)
class _Read:
    """A column that was read.

    Attributes:
        values: Typed values; nulls where missing or unreadable.
        problems: What is wrong with each value, shape as `values`; None when nothing is wrong with any.
    """

    values: pl.Series
    problems: pl.Series | None = None


def typed(block: Block, content: Content, limits: Limits) -> pl.DataFrame:
    """Read the fields of a block.

    Args:
        block: Records as they stood in the file.
        content: What they are.
        limits: Bounds on texts.

    Returns:
        One row a record: every field of the content in its type, defaults filled in, and `defect`: what could
        not be read, in words, null when all could. A record with a defect keeps what could be read.

    Raises:
        DeliveryError: A typed column (of Parquet) has a type that its field cannot have.
    """
    columns, problems = [], []
    for field in content.fields:
        read = _read(block, field, limits)
        values = read.values if field.default is None else read.values.fill_null(field.default)
        columns.append(values.alias(field.name))
        if read.problems is not None:
            problems.append(read.problems.alias(field.name))
    defects = block.defects
    if problems:
        told = pl.DataFrame([defects.alias(""), *problems]).select(
            pl.concat_str(pl.all(), separator="; ", ignore_nulls=True)
        )
        defects = told.to_series().replace("", None)
    return pl.DataFrame([*columns, defects.alias("defect")])


def _read(block: Block, field: Field, limits: Limits) -> _Read:
    if field.name not in block.columns.columns:
        missing = pl.Series(field.name, [None], dtype=DTYPES[field.kind])
        return _Read(missing.new_from_index(0, block.rows))
    found = block.columns[field.name]
    if found.dtype == pl.Null:
        return _Read(found.cast(DTYPES[field.kind]))
    if found.dtype == pl.String:
        text = found.str.strip_chars()
        text = text.set(text == "", None)
        if field.kind == "text":
            return _checked_text(text, field.name, limits)
        return _told(_PARSERS[field.kind](text), text, field)
    values = _converted(found, field)
    if field.kind == "text":
        return _checked_text(values, field.name, limits)
    return _told(values, found, field)


def _told(values: pl.Series, found: pl.Series, field: Field) -> _Read:
    """The values with a word on each that was there and could not be read."""
    bad = values.is_null() & found.is_not_null()
    if not bad.any():
        return _Read(values)
    shown = found.cast(pl.String)
    shown = pl.select(
        pl.when(shown.str.len_chars() > FOUND_CHARS_MAX)
        .then(shown.str.slice(0, FOUND_CHARS_MAX - 1) + "…")
        .otherwise(shown)
    ).to_series()
    sentence = pl.format(f"{field.name}: expected {_EXPECTED[field.kind]}, found '{{}}'", shown)
    return _Read(values, pl.select(pl.when(bad).then(sentence)).to_series())


def _checked_text(text: pl.Series, name: str, limits: Limits) -> _Read:
    """Texts within their bounds."""
    too_long = (text.str.len_chars() > limits.text_chars_max).fill_null(value=False)
    control = text.str.contains(_CONTROL).fill_null(value=False)
    bad = too_long | control
    if not bad.any():
        return _Read(text)
    problems = pl.select(
        pl.when(too_long)
        .then(pl.lit(f"{name}: expected at most {limits.text_chars_max} characters, found more"))
        .when(control)
        .then(pl.lit(f"{name}: expected text without control characters, found one"))
    ).to_series()
    return _Read(text.set(bad, None), problems)


def _number(text: pl.Series) -> pl.Series:
    return text.cast(pl.Float64, strict=False)


def _time(text: pl.Series) -> pl.Series:
    values = _plain_times(text)
    if values is None:
        values = _times(text)
    return _within_years(values, datetime(YEARS[0], 1, 1, tzinfo=UTC), datetime(YEARS[1], 1, 1, tzinfo=UTC))


def _plain_times(text: pl.Series) -> pl.Series | None:
    """Times that all have seconds and an offset, as programs write them, by Arrow's reader, which is ten times faster.

    Returns:
        What `_times` finds; None when it must be asked, because some are written otherwise or are none.
    """
    sizes = text.str.len_bytes().drop_nulls()
    if not sizes.is_in(_PLAIN_TIME_SIZES).all():
        return None
    try:
        values = pl.from_arrow(text.to_arrow().cast(pa.timestamp("us", "UTC")))
    except pa.ArrowInvalid:
        return None
    assert isinstance(values, pl.Series)
    return values


def _times(text: pl.Series) -> pl.Series:
    """Times in any of the forms that are taken; null where there is none."""
    text = text.str.replace(r"^(\S{10}) ", "${1}T")
    values = text.str.strptime(TIME, _TIME_FORMATS[0], strict=False, cache=False)
    for layout in _TIME_FORMATS[1:]:
        if values.null_count() == text.null_count():
            break
        dtype = TIME if layout.endswith("z") else pl.Datetime("us")
        other = text.str.strptime(dtype, layout, strict=False, cache=False)
        values = values.fill_null(other if layout.endswith("z") else other.dt.replace_time_zone("UTC"))
    return values


def _date(text: pl.Series) -> pl.Series:
    values = text.str.strptime(pl.Date, "%Y-%m-%d", strict=False)
    return _within_years(values, date(YEARS[0], 1, 1), date(YEARS[1], 1, 1))


def _flag(text: pl.Series) -> pl.Series:
    return text.str.to_lowercase().replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)


_PARSERS: dict[Kind, Callable[[pl.Series], pl.Series]] = {
    "number": _number,
    "time": _time,
    "date": _date,
    "flag": _flag,
}


def _within_years(values: pl.Series, first: date, end: date) -> pl.Series:
    """The values from `first` on and before `end`, others as nulls."""
    outside = (values < first) | (values >= end)
    return values.set(outside.fill_null(value=False), None) if outside.any() else values


def _converted(found: pl.Series, field: Field) -> pl.Series:
    """A typed column as its field's kind; values that cannot be meant become nulls.

    Raises:
        DeliveryError: No value of this type can be meant.
    """
    kind = found.dtype
    if field.kind == "text" and (kind.is_numeric() or isinstance(kind, (pl.Categorical, pl.Enum))):
        # Pandas makes ids with gaps into floats: 17.0 is meant as 17.
        whole = kind.is_float() and bool((found.drop_nulls() % 1 == 0).all())
        return (found.cast(pl.Int64) if whole else found).cast(pl.String)
    if field.kind == "number" and kind.is_numeric():
        return found.cast(pl.Float64)
    if field.kind == "time" and isinstance(kind, pl.Datetime):
        times = found.dt.cast_time_unit("us")
        times = (
            times.dt.replace_time_zone("UTC") if kind.time_zone is None else times.dt.convert_time_zone("UTC")
        )
        return _within_years(
            times, datetime(YEARS[0], 1, 1, tzinfo=UTC), datetime(YEARS[1], 1, 1, tzinfo=UTC)
        )
    if field.kind == "date" and isinstance(kind, (pl.Date, pl.Datetime)):
        return _within_years(found.cast(pl.Date), date(YEARS[0], 1, 1), date(YEARS[1], 1, 1))
    if field.kind == "flag" and kind == pl.Boolean:
        return found
    if field.kind == "flag" and kind.is_integer():
        return found.cast(pl.Int64).replace_strict({0: False, 1: True}, default=None, return_dtype=pl.Boolean)
    expected = {"text": "text or numbers", "number": "numbers or text", "time": "timestamps or text",
                "date": "dates or text", "flag": "booleans, 0 and 1, or text"}[field.kind]  # fmt: skip
    raise DeliveryError(f"column {field.name}: expected {expected}; found {kind}")
