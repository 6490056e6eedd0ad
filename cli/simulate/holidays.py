"""Days unlike others: public holidays, feasts, sport and benefit days of the simulated retailers.

Guarantee: a pure function of calendar and years. Easter is computed by the anonymous Gregorian algorithm
(Meeus, Astronomical Algorithms, chapter 8).
"""

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl

EVENT_SCHEMA = {
    "event_id": pl.String,
    "date": pl.Date,
    "name": pl.String,
    "type": pl.String,
    "region": pl.String,
}


def easter(year: int) -> date:
    """Easter Sunday of a year of the Gregorian calendar."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    r = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * r) // 451
    month, day = divmod(h + r - 7 * m + 114, 31)
    return date(year, month, day + 1)


def nth_weekday(year: int, month: int, weekday: int, n: int) -> date:
    """The n-th given weekday (Monday is 0) of a month, counted from 1."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))


def events(calendar: str, first_year: int, last_year: int) -> pl.DataFrame:
    """The events of whole years, in the order of their days, with the fields of a delivered event."""
    source = _canada if calendar == "canada" else _alps
    rows = [
        (
            f"{slug}-{day:%Y-%m-%d}" + (f"-{region.lower().replace(' ', '-')}" if region else ""),
            day,
            name,
            kind,
            region,
        )
        for year in range(first_year, last_year + 1)
        for slug, day, name, kind, region in source(year)
    ]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row").sort("date", "event_id")


def _canada(year: int) -> Iterator[tuple[str, date, str, str, str | None]]:
    yield "new-year", date(year, 1, 1), "New Year's Day", "holiday", None
    for region in ("Ontario", "British Columbia"):
        yield "family-day", nth_weekday(year, 2, 0, 3), "Family Day", "holiday", region
    yield "louis-riel-day", nth_weekday(year, 2, 0, 3), "Louis Riel Day", "holiday", "Manitoba"
    yield "good-friday", easter(year) - timedelta(days=2), "Good Friday", "holiday", None
    yield (
        "victoria-day",
        date(year, 5, 24) - timedelta(days=date(year, 5, 24).weekday()),
        "Victoria Day",
        "holiday",
        None,
    )
    yield "canada-day", date(year, 7, 1), "Canada Day", "holiday", None
    yield "labour-day", nth_weekday(year, 9, 0, 1), "Labour Day", "holiday", None
    yield "thanksgiving", nth_weekday(year, 10, 0, 2), "Thanksgiving", "holiday", None
    yield "halloween", date(year, 10, 31), "Halloween", "feast", None
    yield "christmas", date(year, 12, 25), "Christmas Day", "holiday", None
    for month in range(1, 13):
        yield "seniors-day", nth_weekday(year, month, 1, 1), "Seniors' day", "benefit", None


def _alps(year: int) -> Iterator[tuple[str, date, str, str, str | None]]:
    sunday = easter(year)
    yield "new-year", date(year, 1, 1), "Neujahr", "holiday", None
    for region in ("Bayern", "Tirol"):
        yield "epiphany", date(year, 1, 6), "Heilige Drei Könige", "holiday", region
        yield "corpus-christi", sunday + timedelta(days=60), "Fronleichnam", "holiday", region
        yield "all-saints", date(year, 11, 1), "Allerheiligen", "holiday", region
    yield "shrove-tuesday", sunday - timedelta(days=47), "Faschingsdienstag", "feast", None
    yield "easter-monday", sunday + timedelta(days=1), "Ostermontag", "holiday", None
    yield "labour-day", date(year, 5, 1), "Tag der Arbeit", "holiday", None
    yield "mothers-day", nth_weekday(year, 5, 6, 2), "Muttertag", "feast", None
    yield "ascension", sunday + timedelta(days=39), "Christi Himmelfahrt", "holiday", None
    yield "whit-monday", sunday + timedelta(days=50), "Pfingstmontag", "holiday", None
    yield "leipzig-marathon", nth_weekday(year, 4, 6, 3), "Leipzig Marathon", "sport", "Sachsen"
    for region in ("Bayern", "Sachsen"):
        yield "unity-day", date(year, 10, 3), "Tag der Deutschen Einheit", "holiday", region
    yield "christmas", date(year, 12, 25), "Weihnachten", "holiday", None
    yield "st-stephen", date(year, 12, 26), "Stephanstag", "holiday", None
