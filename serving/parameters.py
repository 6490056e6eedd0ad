"""The parameters of the API, each with its bounds, description and example."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

from fastapi import Header, Path, Query

from infra.settings import CustomerId
from serving.cursors import CURSOR_CHARS_MAX
from serving.negotiation import Format
from serving.ports import Content, State
from serving.problems import INVALID_REQUEST, Problem

ID_CHARS_MAX = 1_000
ROWS_DEFAULT = 1_000
ROWS_MAX = 100_000
DELIVERY_ID_MAX = 2**63 - 1

Customer = Annotated[CustomerId, Query(description="The retailer.", examples=["corner-shops"])]
Location = Annotated[
    str | None, Query(max_length=ID_CHARS_MAX, description="Only this location.", examples=["berlin-1"])
]
Product = Annotated[
    str | None, Query(max_length=ID_CHARS_MAX, description="Only this product.", examples=["milk-1l"])
]
Start = Annotated[date | None, Query(description="First day, inclusive.", examples=["2026-11-01"])]
End = Annotated[date | None, Query(description="Last day, inclusive.", examples=["2026-11-28"])]
Cursor = Annotated[
    str | None,
    Query(
        max_length=CURSOR_CHARS_MAX,
        description="Where to go on: next_cursor of the page before. The header Link has the whole address.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=ROWS_MAX, description="Most rows in one page.")]
Ask = Annotated[
    Format | None,
    Query(
        alias="format", description="Wins over the header Accept, for where it cannot be set, such as a link."
    ),
]
RUN_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
RunId = Annotated[
    str | None,
    Query(
        pattern=RUN_ID,
        description="The forecasts of this run instead of the current one: any that was ever current.",
        examples=["2026-11-20-1"],
    ),
]
RunPath = Annotated[
    str,
    Path(pattern=RUN_ID, description="The run, or `current` for the one being served.", examples=["current"]),
]
Quantiles = Annotated[
    str | None,
    Query(
        pattern=r"^(q\d\d(,q\d\d){0,6})?$",
        description="Only these quantiles beside the mean, by commas; none when empty, all when left out.",
        examples=["q05,q50,q95"],
    ),
]
DeliveryId = Annotated[
    int, Path(ge=0, le=DELIVERY_ID_MAX, description="The delivery id that POST answered.", examples=[42])
]
FileContent = Annotated[
    Content | None, Query(description="What the file holds; without it the start of the file's name decides.")
]
FileName = Annotated[
    str,
    Query(
        min_length=1,
        max_length=255,
        pattern=r"^[^\x00-\x1f\x7f/\\]+$",
        description="Name of the file: its start tells the content, its ending the format.",
        examples=["sales-2026-11-01.csv.gz"],
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A key of this request's own, such as a UUID: the request made again with it is answered as it was "
        "the first time, also when its bytes have changed.",
        examples=["7f9d3c1e-2b1a-4a58-9d1e-3f0f6f0c2a11"],
    ),
]
DeliveryStates = Annotated[State | None, Query(alias="state", description="Only deliveries that stand so.")]
WindowName = Annotated[
    str | None,
    Query(alias="window", max_length=32, description="Only windows of this name.", examples=["day"]),
]
Final = Annotated[bool | None, Query(description="Only windows that are final, or only those that are not.")]
Search = Annotated[
    str | None,
    Query(
        max_length=200, description="Only those whose id or name contains this text, in any case of letters."
    ),
]


def chosen_quantiles(text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """The quantiles that a request asks for, in the order of `known`.

    Raises:
        Problem: 422; one is not known.
    """
    if text is None:
        return tuple(known)
    asked = [name for name in text.split(",") if name]
    if unknown := [name for name in asked if name not in known]:
        message = f"expected some of {', '.join(known)}; found {', '.join(unknown)}"
        raise Problem(
            INVALID_REQUEST, f"quantiles: {message}", errors=({"parameter": "quantiles", "message": message},)
        )
    return tuple(name for name in known if name in asked)


def check_days(start: date | None, end: date | None) -> None:
    """Refuse a range of days that ends before it starts.

    Raises:
        Problem: 422.
    """
    if start is not None and end is not None and start > end:
        message = f"start {start} lies after end {end}; both days are included in the range"
        raise Problem(
            INVALID_REQUEST, f"start: {message}", errors=({"parameter": "start", "message": message},)
        )
