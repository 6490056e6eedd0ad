"""The running state of locations and products, as another service or the page asks for it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from fastapi import APIRouter, Request, Response

from serving import cursors
from serving.access import Anyone, Reader
from serving.answers import CustomersAnswer, LocationsAnswer, ProductsAnswer, problems
from serving.negotiation import FORMATS, Format, choose
from serving.parameters import Ask, Cursor, Customer, Limit, Search
from serving.ports import MasterTable
from serving.problems import BAD_CURSOR, NOT_ACCEPTABLE
from serving.service import Parts
from serving.tables import Page, page_response

router = APIRouter(tags=["Master data"])

LOCATION_COLUMNS = (
    "location_id",
    "name",
    "region",
    "kind",
    "time_zone",
    "currency",
    "opened_on",
    "closed_on",
    "delivery_id",
)
PRODUCT_COLUMNS = (
    "product_id",
    "name",
    "department",
    "category",
    "unit",
    "introduced_on",
    "ended_on",
    "delivery_id",
)
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": FORMATS},
    **problems(BAD_CURSOR, NOT_ACCEPTABLE),
}


def matching(rows: pl.DataFrame, key: str, text: str | None) -> pl.DataFrame:
    """The rows whose id or name contains `text`, in any case of letters; all without it."""
    if not text:
        return rows
    wanted = text.casefold()
    found = pl.col(key, "name").str.to_lowercase().str.contains(wanted, literal=True).fill_null(value=False)
    return rows.filter(pl.any_horizontal(found))


def master_page(
    table: MasterTable,
    customer_id: str,
    columns: Sequence[str],
    text: str | None,
    cursor: str | None,
    limit: int,
) -> Page:
    """One page of a state, by id.

    Args:
        table: The state.
        customer_id: Whose state.
        columns: What is shown; the first is the id.
        text: What id or name must contain.
        cursor: Where to go on.
        limit: Most rows.
    """
    key = columns[0]
    query = (key, customer_id, text)
    found = matching(table.rows, key, text).select(columns).sort(key)
    total = found.height
    if cursor is not None:
        # By the last id shown, not by a count: a page stays right while records come and go.
        found = found.filter(pl.col(key) > cursors.decode_text(cursor, query))
    shown = found.head(limit)
    following = cursors.encode(query, "", str(shown[key][-1])) if found.height > limit else None
    offsets = {str(partition): offset for partition, offset in sorted(table.offsets.items())}
    about = {"customer_id": customer_id, "total": total, "offsets": offsets}
    return Page(key.removesuffix("_id") + "s", shown, about, following)


@router.get("/v1/customers", response_model=CustomersAnswer)
def list_customers(parts: Parts, caller: Anyone) -> CustomersAnswer:
    """List the customers that delivered anything or have sales in the lake, as far as the token is for them."""
    found = {*parts.deliveries.customers(), *parts.lake.customers()}
    if caller.token.customer_id is not None:
        found.add(caller.token.customer_id)  # Also before its first delivery: the page begins with it.
    return CustomersAnswer(customers=sorted(filter(caller.sees, found)))


@router.get("/v1/locations", response_model=LocationsAnswer, responses=RESPONSES)
def list_locations(
    request: Request,
    parts: Parts,
    caller: Reader,
    customer_id: Customer,
    q: Search = None,
    cursor: Cursor = None,
    limit: Limit = 1_000,
    form: Ask = None,
) -> Response:
    """List a customer's locations as they stand."""
    chosen = choose(request.headers.get("accept"), form, tuple(Format))
    table = parts.master.locations(customer_id)
    if caller.location_ids is not None:
        table = replace(table, rows=table.rows.filter(pl.col("location_id").is_in(caller.location_ids)))
    return page_response(request, master_page(table, customer_id, LOCATION_COLUMNS, q, cursor, limit), chosen)


@router.get("/v1/products", response_model=ProductsAnswer, responses=RESPONSES)
def list_products(
    request: Request,
    parts: Parts,
    _: Reader,
    customer_id: Customer,
    q: Search = None,
    cursor: Cursor = None,
    limit: Limit = 1_000,
    form: Ask = None,
) -> Response:
    """List a customer's products as they stand."""
    chosen = choose(request.headers.get("accept"), form, tuple(Format))
    table = parts.master.products(customer_id)
    return page_response(request, master_page(table, customer_id, PRODUCT_COLUMNS, q, cursor, limit), chosen)
