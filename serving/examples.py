"""One example of each answer, for the reference: what a caller sees before the first request.

Guarantee: each is a whole answer of its kind, since it is built as one.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from serving.answers import (
    Answer,
    CustomersAnswer,
    DeliveriesAnswer,
    DeliveryAnswer,
    ErrorsAnswer,
    ForecastRow,
    ForecastsAnswer,
    GroupRow,
    GroupsAnswer,
    HistoryAnswer,
    HistoryRow,
    LagAnswer,
    LagsAnswer,
    LineageAnswer,
    LocationRow,
    LocationsAnswer,
    PartAnswer,
    ProblemAnswer,
    ProductRow,
    ProductsAnswer,
    ReadyAnswer,
    ReceiptAnswer,
    RefusedRecord,
    RunAnswer,
    RunsAnswer,
    SeriesAnswer,
    SessionAnswer,
    SourceAnswer,
    WindowRow,
    WindowsAnswer,
)

CUSTOMER, LOCATION, PRODUCT = "corner-shops", "berlin-1", "milk-1l"
DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
RUN = "2026-11-20-7"
CURSOR = "WzE4MzQ0LCIyMDI2LTExLTIwLTciLDEwMDBd"

DELIVERY = DeliveryAnswer(
    delivery_id=42,
    customer_id=CUSTOMER,
    content="sales",
    format="csv",
    name="sales-2026-11-20.csv.gz",
    size_bytes=48_213,
    state="done",
    records=1_204,
    valid=1_203,
    invalid=1,
    by_code={"unknown_location": 1},
    reason=None,
    accepted_at=NOON,
    updated_at=NOON + timedelta(seconds=4),
    done_at=NOON + timedelta(seconds=4),
)

OF_RUN: dict[str, Any] = {
    "customer_id": CUSTOMER,
    "run_id": RUN,
    "model": "global_trees",
    "made_on": DAY,
    "manifest": 7,
    "state": "fresh",
    "degraded_because": [],
}
FORECAST = ForecastRow(
    location_id=LOCATION, product_id=PRODUCT, date=DAY + timedelta(days=1), mean=12.4,
    q05=6.0, q10=7.0, q25=9.0, q50=12.0, q75=15.0, q90=18.0, q95=20.0,
)  # fmt: skip
RUN_ANSWER = RunAnswer(
    run_id=RUN, current=True, model="global_trees", manifest=7, made_on=DAY, origin=DAY,
    horizon_days=28, accepted=True, reasons=[], metrics={"wape": 0.41, "coverage_90": 0.91},
)  # fmt: skip

ALL: tuple[Answer, ...] = (
    ProblemAnswer(
        type="/docs#unknown-delivery",
        title="There is no such delivery",
        status=404,
        detail="No delivery has the id 43.",
        action="Look up the id in GET /v1/deliveries; a file just sent appears there within seconds.",
        instance="/v1/deliveries/43",
        errors=None,
    ),
    ReceiptAnswer(
        delivery_id=42, repeated=False, content="sales", format="csv", digest="9f" * 32, size_bytes=48_213
    ),
    DELIVERY,
    DeliveriesAnswer(customer_id=CUSTOMER, deliveries=[DELIVERY], next_cursor=None),
    ErrorsAnswer(
        delivery_id=42,
        customer_id=CUSTOMER,
        total=1,
        listed=1,
        errors=[
            RefusedRecord(
                position=17,
                codes=["unknown_location"],
                messages=["Expected a location that was delivered before; found 'berlin-9'."],
                sale_id="s-17",
                location_id="berlin-9",
                product_id=PRODUCT,
                sold_at=NOON - timedelta(hours=3),
                quantity=2.0,
                unit_price=1.19,
                voided=False,
                content="sales",
                judged_at=NOON,
            )
        ],
        next_cursor=None,
    ),
    ForecastsAnswer(**OF_RUN, forecasts=[FORECAST], next_cursor=CURSOR),
    SeriesAnswer(**OF_RUN, forecasts=[FORECAST], next_cursor=None, unknown=[]),
    GroupsAnswer(
        **OF_RUN,
        groups=[
            GroupRow(
                region="Berlin", department="dairy", date=DAY + timedelta(days=1), mean=4_210.6, series=612
            )
        ],
        next_cursor=None,
    ),
    LineageAnswer(
        customer_id=CUSTOMER,
        run=RUN_ANSWER,
        forecasts_path=f"forecasts/customer_id={CUSTOMER}/run_id={RUN}/part.parquet",
        model_path=f"models/{CUSTOMER}/{RUN}.bin",
        manifest_path=f"manifests/{CUSTOMER}/0000000007.json",
        sealed_at=NOON,
        first_sold_on=date(2023, 1, 2),
        last_sold_on=DAY,
        deliveries=[
            SourceAnswer(
                delivery_id=42, name="sales-2026-11-20.csv.gz", accepted_at=NOON, rows={"sales_sealed": 1_203}
            )
        ],
    ),
    RunsAnswer(
        customer_id=CUSTOMER,
        current=RUN,
        state="fresh",
        degraded_because=[],
        degraded_since=None,
        total=1,
        runs=[RUN_ANSWER],
    ),
    HistoryAnswer(
        customer_id=CUSTOMER,
        manifest=7,
        data_up_to=DAY,
        history=[
            HistoryRow(
                location_id=LOCATION, product_id=PRODUCT, sold_on=DAY, quantity=11.0, revenue=13.09, sales=9,
                unit="piece", currency="EUR",
            )
        ],
        next_cursor=None,
    ),
    LocationsAnswer(
        customer_id=CUSTOMER,
        total=1,
        offsets={"0": 7},
        next_cursor=None,
        locations=[
            LocationRow(
                location_id=LOCATION, name="Berlin Mitte", region="Berlin", kind="city",
                time_zone="Europe/Berlin", currency="EUR", opened_on=date(2019, 4, 1), closed_on=None, delivery_id=40,
            )
        ],
    ),
    ProductsAnswer(
        customer_id=CUSTOMER,
        total=1,
        offsets={"0": 7},
        next_cursor=None,
        products=[
            ProductRow(
                product_id=PRODUCT, name="Milk, 1 l", department="dairy", category="milk", unit="piece",
                introduced_on=date(2019, 4, 1), ended_on=None, delivery_id=41,
            )
        ],
    ),
    CustomersAnswer(customers=[CUSTOMER]),
    SessionAnswer(
        token_id="3f9c2a61d07b",
        name="corner-shops, planning",
        scopes=["read"],
        customer_id=CUSTOMER,
        location_ids=[],
        expires_at=NOON + timedelta(days=90),
    ),
    ReadyAnswer(ready=True, parts=[PartAnswer(name="stream", ready=True, detail="followed to its end")]),
    WindowsAnswer(
        customer_id=CUSTOMER,
        total=1,
        complete=True,
        windows=[
            WindowRow(
                location_id=LOCATION, product_id=PRODUCT, window="day", starts_on=DAY,
                starts_at=NOON - timedelta(hours=13), ends_at=NOON + timedelta(hours=11),
                time_zone="Europe/Berlin", quantity=11.0, revenue=13.09, sales=9, final=False, updated_at=NOON,
            )
        ],
        next_cursor=None,
    ),
    LagsAnswer(lags=[LagAnswer(job="validate", topic="sales-input", partition=0, messages=17, end=4_000)]),
)  # fmt: skip

EXAMPLES: Mapping[str, Any] = {type(one).__name__: one.model_dump(mode="json") for one in ALL}
"""By the name of an answer's kind an example of it, as JSON."""
