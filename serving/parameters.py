"""The parameters of the API, each with its bounds, description and example."""

from datetime import date
from typing import Annotated

from fastapi import Path, Query

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
