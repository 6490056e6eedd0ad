"""The shapes of the JSON answers, for the reference and for the tests that hold the answers against them."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.ports import Delivery
from serving.problems import Kind


class Answer(BaseModel):
    """What every answer shares: no field that the reference does not name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemAnswer(Answer):
    """A problem document of RFC 9457."""

    type: str = Field(
        description="Kind of problem: a link into the reference.", examples=["/docs#unknown-delivery"]
    )
    title: str = Field(description="The kind in words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What was expected and what was found.")
    action: str = Field(description="What to do.")
    instance: str = Field(description="Address that was asked.")
    errors: list[dict[str, str]] | None = Field(None, description="One entry for each parameter refused.")


def problems(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """What the reference says of the problems that an address may answer with, by status."""
    titles: dict[int, list[str]] = {}
    for kind in kinds:
        titles.setdefault(kind.status, []).append(f"{kind.title}.")
    return {
        status: {"model": ProblemAnswer, "description": " ".join(found)} for status, found in titles.items()
    }


class ReceiptAnswer(Answer):
    """A delivered file was accepted."""

    delivery_id: int = Field(description="Id of the delivery; of a repeat that of the first.", examples=[42])
    repeated: bool = Field(description="Whether these bytes had been accepted before.")
    content: str = Field(description="What the file holds.", examples=["sales"])
    format: str = Field(description="Format of the file.", examples=["csv"])
    digest: str = Field(description="SHA-256 of the bytes as they came, 64 hex digits.")
    size_bytes: int = Field(description="Size as it came, bytes.")


class DeliveryAnswer(Answer):
    """What became of a delivery so far."""

    delivery_id: int = Field(description="The delivery.", examples=[42])
    customer_id: str = Field(description="The retailer that delivered.")
    content: str = Field(description="sales, locations, products, prices or events.")
    format: str = Field(description="xml, csv, jsonl or parquet.")
    name: str = Field(description="Name of the file as the customer calls it.")
    size_bytes: int = Field(description="Size as it came, bytes.")
    state: str = Field(description="accepted, reading, judging, done or rejected; the last two are final.")
    records: int = Field(description="Records found so far.")
    valid: int = Field(description="Records found valid so far.")
    invalid: int = Field(description="Records refused so far.")
    by_code: dict[str, int] = Field(
        description="Refused records by code; one counts under each of its codes."
    )
    reason: str | None = Field(description="Why the file was rejected, or what the delivery waits for.")
    accepted_at: datetime = Field(description="When it was accepted, UTC.")
    updated_at: datetime = Field(description="When this report last changed, UTC.")
    done_at: datetime | None = Field(description="When the last record was judged or the file rejected, UTC.")

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryAnswer":
        """A delivery as the answers show it."""
        return cls.model_validate(asdict(delivery))


class RunEvent(Answer):
    """A run became current."""

    customer_id: str
    run_id: str
    model: str
    made_on: date
    manifest: int


class DeliveriesAnswer(Answer):
    """Deliveries, newest first."""

    customer_id: str
    deliveries: list[DeliveryAnswer]
    next_cursor: str | None = Field(description="Where the next page begins; null on the last.")


class RefusedRecord(Answer):
    """A record that was refused, and why."""

    position: int | None = Field(description="Place of the record in its file, counted from 1.")
    codes: list[str] = Field(description="Every rule it breaks.", examples=[["unknown_location"]])
    messages: list[str] = Field(description="One sentence a code: what was expected and what was found.")
    sale_id: str | None
    location_id: str | None
    product_id: str | None
    sold_at: datetime | None = Field(None, description="When it was sold, UTC, as delivered.")
    quantity: float | None = Field(None, description="How much was sold, as delivered.")
    unit_price: float | None = Field(None, description="Price of one unit, as delivered.")
    voided: bool | None = Field(None, description="True when the record withdraws a sale.")
    content: str
    judged_at: datetime = Field(description="When it was refused, UTC.")


class ErrorsAnswer(Answer):
    """Refused records of a delivery, by position."""

    delivery_id: int
    customer_id: str
    total: int = Field(description="Records refused so far, as the delivery's report counts them.")
    listed: int = Field(
        description="Of those the ones that can be listed already; the others follow in a minute."
    )
    errors: list[RefusedRecord]
    next_cursor: str | None


class ForecastRow(Answer):
    """The forecast of one location and product for one day, in the product's unit."""

    location_id: str
    product_id: str
    date: date
    mean: float | None = Field(description="Expected quantity.")
    q05: float | None = Field(
        None,
        description="Quantity that sales stay below with probability 0.05. Quantiles not asked for are left out.",
    )
    q10: float | None = None
    q25: float | None = None
    q50: float | None = Field(None, description="Median.")
    q75: float | None = None
    q90: float | None = None
    q95: float | None = None


class OfRun(Answer):
    """Where forecasts come from."""

    customer_id: str
    run_id: str = Field(description="The run that made them; one answer never mixes two.")
    model: str = Field(description="The model.")
    made_on: date = Field(description="The day they were made.")
    manifest: int = Field(description="Number of the lake's manifest that the model was trained on.")
    state: Literal["fresh", "degraded"] = Field(
        description="degraded: an older forecast goes on being served, since a newer one was refused or failed."
    )
    degraded_because: list[str] = Field(description="Why it is degraded; empty when it is not.")
    next_cursor: str | None = Field(description="Where the next page begins; null on the last.")


class ForecastsAnswer(OfRun):
    """A page of a run's forecasts, sorted by location, product and day."""

    forecasts: list[ForecastRow]


class SeriesName(Answer):
    """One location and product."""

    location_id: str
    product_id: str


class SeriesAnswer(ForecastsAnswer):
    """Forecasts of the series asked for, in that order, each by day; all on one page."""

    unknown: list[SeriesName] = Field(description="Those asked for of which the run has no forecast.")


class GroupRow(Answer):
    """What a group is expected to sell on one day. Only what was asked for by `by` stands in it."""

    location_id: str | None = None
    region: str | None = None
    kind: str | None = None
    product_id: str | None = None
    category: str | None = None
    department: str | None = None
    date: date
    mean: float | None = Field(description="Expected quantity of all series of the group together.")
    series: int = Field(description="Series in the group that have a forecast for the day.")


class GroupsAnswer(OfRun):
    """Expected sums by group and day, all on one page."""

    groups: list[GroupRow]


class RunAnswer(Answer):
    """One run of the forecasting flow, published or not."""

    run_id: str
    current: bool = Field(description="Whether its forecasts are the ones being served.")
    model: str = Field(description="The model.")
    manifest: int = Field(description="Number of the lake's manifest that it was trained on.")
    made_on: date = Field(description="The day it was made, UTC.")
    origin: date = Field(description="Last day of sales that it used; its forecasts begin on the next.")
    horizon_days: int = Field(description="Days forecast.")
    accepted: bool = Field(description="Whether it passed the gate; a run that did not is never served.")
    reasons: list[str] = Field(description="Why it did not pass, or remarks on one that did.")
    metrics: dict[str, float] = Field(description="Scores of the backtest by name.")


class RunsAnswer(Answer):
    """Runs, newest first."""

    customer_id: str
    current: str | None = Field(description="The run being served; null when none is.")
    state: Literal["fresh", "degraded"] = Field(
        description="degraded: an older forecast goes on being served, since a newer one was refused or failed."
    )
    degraded_because: list[str] = Field(description="Why it is degraded; empty when it is not.")
    degraded_since: date | None = Field(
        description="The first day whose sales should be in the forecast and are not; null when none."
    )
    total: int = Field(description="Runs that there are.")
    runs: list[RunAnswer]


class SourceAnswer(Answer):
    """A delivery of which rows are in the data."""

    delivery_id: int
    name: str | None = Field(description="Name of the file; null when the topics no longer know it.")
    accepted_at: datetime | None = Field(description="When it was accepted, UTC.")
    rows: dict[str, int] = Field(
        description="By table of the lake the rows that are from it.", examples=[{"sales_sealed": 10_000}]
    )


class LineageAnswer(Answer):
    """Where the forecasts of a run come from."""

    customer_id: str
    run: RunAnswer
    forecasts_path: str = Field(description="Where its forecasts lie in the lake.")
    model_path: str | None = Field(description="Where its model lies in the lake; null when none was kept.")
    manifest_path: str = Field(description="Where the manifest of its data lies in the lake.")
    sealed_at: datetime = Field(description="When the manifest was made, UTC.")
    first_sold_on: date | None = Field(description="First day of sales in it.")
    last_sold_on: date | None = Field(description="Last day of sales in it.")
    deliveries: list[SourceAnswer] = Field(description="The deliveries whose rows are in it, by id.")


class HistoryRow(Answer):
    """What one location sold of one product on one day."""

    location_id: str
    product_id: str
    sold_on: date = Field(description="Local day at the location.")
    quantity: float | None = Field(description="Sum of quantities, in unit.")
    revenue: float | None = Field(
        description="Sum of quantity × unit price, in currency; null when not known."
    )
    sales: int = Field(description="Number of sales.")
    unit: str | None
    currency: str | None


class HistoryAnswer(Answer):
    """Daily sums of one series, by day; a day without sales has no row."""

    customer_id: str
    manifest: int | None = Field(
        description="Number of the manifest that the days are sealed in; null when none is."
    )
    data_up_to: date | None = Field(description="Newest sealed day of the customer; null when none is.")
    history: list[HistoryRow]
    next_cursor: None


class LocationRow(Answer):
    """A location as it stands."""

    location_id: str
    name: str | None
    region: str | None
    kind: str | None
    time_zone: str
    currency: str | None
    opened_on: date | None
    closed_on: date | None
    delivery_id: int = Field(description="Delivery that this version came with.")


class ProductRow(Answer):
    """A product as it stands."""

    product_id: str
    name: str | None
    department: str | None
    category: str | None
    unit: str
    introduced_on: date | None
    ended_on: date | None
    delivery_id: int = Field(description="Delivery that this version came with.")


class MasterAnswer(Answer):
    """What locations and products share."""

    customer_id: str
    total: int = Field(description="Rows that match, on all pages.")
    offsets: dict[str, int] = Field(
        description="By partition of the topic, the first offset not yet in the state."
    )
    next_cursor: str | None


class LocationsAnswer(MasterAnswer):
    """Locations, by id."""

    locations: list[LocationRow]


class ProductsAnswer(MasterAnswer):
    """Products, by id."""

    products: list[ProductRow]


class CustomersAnswer(Answer):
    """The customers that delivered anything."""

    customers: list[str]


class SessionAnswer(Answer):
    """Whose token or session this is."""

    token_id: str = Field(description="Id of the token.", examples=["3f9c2a61d07b"])
    name: str = Field(description="Who holds it.", examples=["corner-shops, planning"])
    scopes: list[str] = Field(description="What it may do: deliver, read, operate.", examples=[["read"]])
    customer_id: str | None = Field(description="The only customer that it may see; null for all.")
    location_ids: list[str] = Field(description="The only locations that it may read; none for all.")
    expires_at: datetime | None = Field(description="When it ends, UTC; null for never.")


class PartAnswer(Answer):
    """One thing that the service leans on."""

    name: str
    ready: bool
    detail: str


class ReadyAnswer(Answer):
    """Whether the service can answer everything."""

    ready: bool
    parts: list[PartAnswer]


class WindowRow(Answer):
    """What was sold of one product at one location within one window."""

    location_id: str
    product_id: str
    window: str = Field(description="Name of the windows that this is one of.", examples=["day"])
    starts_on: date = Field(description="Local day on which it starts.")
    starts_at: datetime = Field(description="Start, UTC; included, but not in a sliding window.")
    ends_at: datetime = Field(description="End, UTC; not included, but in a sliding window it is.")
    time_zone: str = Field(description="IANA time zone of the location, on whose clock it starts and ends.")
    quantity: float = Field(description="How much was sold, in the product's unit.")
    revenue: float | None = Field(description="Of the sales with a price; null when none has one.")
    sales: int = Field(description="Number of sales.")
    final: bool = Field(description="True when the window is closed and the sums stay as they are.")
    updated_at: datetime = Field(description="When the sums were last written, UTC.")


class WindowsAnswer(Answer):
    """A page of windowed sums, sorted by location, product, window and start."""

    customer_id: str
    total: int = Field(description="Windows that match, on all pages.")
    complete: bool = Field(description="False while the service is still reading what there is.")
    windows: list[WindowRow]
    next_cursor: str | None = Field(description="Where the next page begins; null on the last.")


class LagAnswer(Answer):
    """How far a job is behind on one partition."""

    job: str = Field(description="Consumer group of the job.", examples=["validate"])
    topic: str = Field(description="Topic that it reads.", examples=["sales-input"])
    partition: int
    messages: int = Field(description="Messages that it has not handled yet.")
    end: int = Field(description="Offset at which the partition ends.")


class LagsAnswer(Answer):
    """How far every job is behind, as of a few seconds ago."""

    lags: list[LagAnswer]
