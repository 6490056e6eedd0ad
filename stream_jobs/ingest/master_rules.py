"""The rules of master data, judged while a file is read.

They look at a record's own fields and `defect` only: what makes a location or a product wrong does not hang
on other records. Guarantee: as with sales, every rule that a record breaks is reported.
"""

import contextlib
import zoneinfo
from datetime import UTC, datetime
from functools import cache

import polars as pl
from polars.exceptions import ComputeError

from stream_jobs.ingest.contents import CONTENTS, Content
from stream_jobs.rules import Rule, any_missing, missing_fields

_READABLE = pl.col("defect").is_null()


@cache
def time_zones() -> frozenset[str]:
    """The time zones in which the day of a sale can be computed.

    The system's list holds some, such as `localtime`, that mean something else on each machine and that
    Polars does not know; a location with one would stop every job that looks at its days.
    """
    moment = pl.Series([datetime(2000, 1, 1, tzinfo=UTC)])
    known = set()
    for name in zoneinfo.available_timezones():
        with contextlib.suppress(ComputeError):
            moment.dt.convert_time_zone(name)
            known.add(name)
    return frozenset(known)


@cache
def master_rules(content_name: str) -> tuple[Rule, ...]:
    """The rules of a content other than sales, in the order in which they are reported."""
    content = CONTENTS[content_name]
    return (*_form_rules(content), *_OWN_RULES[content_name])


def _form_rules(content: Content) -> tuple[Rule, ...]:
    required = content.required
    return (
        Rule("unreadable_record", ~_READABLE, "The record could not be read as delivered: {defect}."),
        Rule(
            "missing_field",
            _READABLE & any_missing(required),
            f"Expected {', '.join(required)}; missing: {{missing}}.",
            {"missing": missing_fields(required)},
        ),
        # A slash would make two keys one; it stands between the parts of a message key.
        *(
            Rule(
                "bad_id",
                pl.col(name).str.contains("/", literal=True),
                f"Expected a {name} without a slash; found {{{name}}}.",
            )
            for name in content.key[:-1]
            if name.endswith("_id")
        ),
    )


def _in_order(first: str, second: str) -> Rule:
    return Rule(
        "bad_date",
        pl.col(second) < pl.col(first),
        f"Expected {second} on or after {first}; found {{{second}}} before {{{first}}}.",
    )


_OWN_RULES: dict[str, tuple[Rule, ...]] = {
    "locations": (
        Rule(
            "bad_time_zone",
            ~pl.col("time_zone").is_in(sorted(time_zones())),
            "Expected an IANA time zone such as Europe/Berlin; found {time_zone}.",
        ),
        Rule(
            "bad_currency",
            ~pl.col("currency").str.contains("^[A-Z]{3}$"),
            "Expected a currency's three letters as in ISO 4217, such as EUR; found {currency}.",
        ),
        _in_order("opened_on", "closed_on"),
    ),
    "products": (_in_order("introduced_on", "ended_on"),),
    "prices": (
        Rule(
            "not_finite",
            ~pl.col("unit_price").is_finite(),
            "Expected a finite unit_price; found {unit_price}.",
        ),
        Rule(
            "bad_price", pl.col("unit_price") < 0, "Expected a unit_price of at least 0; found {unit_price}."
        ),
    ),
    "events": (),
}
