"""The simulated retailers: the expectations of every delivery are judged again here, line by line."""

import io
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from cli.delivery_files import file_kind
from cli.simulate import Deliveries, Delivery, plan, plan_week
from infra.errors import DeliveryError, SettingError
from infra.settings import IngestSettings
from stream_jobs.ingest.blocks import Limits
from stream_jobs.ingest.columns import typed
from stream_jobs.ingest.contents import CONTENTS
from stream_jobs.ingest.master_rules import master_rules
from stream_jobs.ingest.readers import read_blocks
from stream_jobs.ingest.repeats import Repeats
from stream_jobs.local_days import local_days
from stream_jobs.rules import SALES_RULES, judge

LAST_DAY = date(2026, 10, 31)
LIMITS = Limits.of(IngestSettings())
Row = dict[str, object]


@pytest.fixture(scope="module")
def deliveries() -> Deliveries:
    return plan(7, LAST_DAY)


@pytest.fixture(scope="module")
def short() -> Deliveries:
    return plan(7, LAST_DAY, days=150)


def rows(item: Delivery) -> list[Row]:
    """The records as a reader would understand them."""
    found: list[Row] = item.records.drop("codes").rows(named=True)
    unreadable = item.damage.rows if item.damage and item.damage.kind == "records" else ()
    for place in unreadable:
        found[place]["unreadable"] = True
    return found


def judged(
    row: Row, received: datetime, locations: dict[str, Row], products: set[str], seen: set[object]
) -> list[str]:
    """The codes of a sale line, by the words of the rules and nothing else."""
    if row.get("unreadable"):
        return ["unreadable_record"]
    codes: list[str] = []
    voided = bool(row.get("voided"))
    needed = ["sale_id", "location_id"] + ([] if voided else ["product_id", "sold_at", "quantity"])
    if any(row[name] is None for name in needed):
        codes.append("missing_field")
    location = locations.get(str(row["location_id"]))
    if row["location_id"] is not None and location is None:
        codes.append("unknown_location")
    if voided:
        return codes
    if row["product_id"] is not None and row["product_id"] not in products:
        codes.append("unknown_product")
    quantity, price = row["quantity"], row["unit_price"]
    if isinstance(quantity, float) and quantity < 0:
        codes.append("negative_quantity")
    if isinstance(quantity, float) and quantity != quantity:
        codes.append("not_finite")
    if isinstance(price, float) and price < 0:
        codes.append("bad_price")
    if isinstance(row["sold_at"], str):
        sold_at = datetime.fromisoformat(row["sold_at"])
        if sold_at > received + timedelta(days=1):
            codes.append("sold_in_future")
        if location is not None:
            sold_on = sold_at.astimezone(ZoneInfo(str(location["time_zone"]))).date().isoformat()
            if sold_on < str(location["opened_on"]):
                codes.append("sold_before_opening")
            if location["closed_on"] is not None and sold_on >= str(location["closed_on"]):
                codes.append("sold_after_closing")
            assert codes or sold_on == str(row["sold_on"])
    if row["sale_id"] in seen:
        codes.append("duplicate_sale_id")
    seen.add(row["sale_id"])
    return codes


def master_codes(content: str, row: Row) -> list[str]:
    required = [field.name for field in CONTENTS[content].fields if field.required]
    if any(row[name] is None for name in required):
        return ["missing_field"]
    for name in ("opened_on", "closed_on"):
        text = row.get(name)
        if isinstance(text, str):
            try:
                date.fromisoformat(text)
            except ValueError:
                return ["unreadable_record"]
    price = row.get("unit_price")
    return ["bad_price"] if isinstance(price, float) and price < 0 else []


def assert_judged(items: tuple[Delivery, ...], received: datetime) -> dict[tuple[str, object], Row]:
    """Judge all deliveries in their order; returns the sales that stand at the end."""
    locations: dict[str, dict[str, Row]] = {"greenfield": {}, "brotzeit": {}}
    products: dict[str, set[str]] = {"greenfield": set(), "brotzeit": set()}
    standing: dict[tuple[str, object], Row] = {}
    for item in items:
        customer, seen = item.customer_id, set[object]()
        if item.rejected:
            assert item.expected.rejected
            continue
        by_code: Counter[str] = Counter()
        invalid = 0
        for row, expected in zip(rows(item), item.records["codes"], strict=True):
            if item.content == "sales":
                codes = judged(row, received, locations[customer], products[customer], seen)
            else:
                codes = master_codes(item.content, row)
            assert ",".join(codes) == expected, (item.name, row)
            by_code.update(codes)
            invalid += bool(codes)
            if codes:
                continue
            if item.content == "locations":
                locations[customer][str(row["location_id"])] = row
            elif item.content == "products":
                products[customer].add(str(row["product_id"]))
            elif item.content == "sales":
                standing[customer, row["sale_id"]] = row
        assert item.expected.by_code == dict(by_code)
        assert (item.expected.records, item.expected.invalid) == (item.records.height, invalid)
        assert item.expected.valid == item.expected.records - invalid
    return {key: row for key, row in standing.items() if not row.get("voided")}


def assert_live(found: Deliveries, standing: dict[tuple[str, object], Row]) -> None:
    live = {(row["customer_id"], row["sale_id"]): row["quantity"] for row in found.live.rows(named=True)}
    assert live == {key: row["quantity"] for key, row in standing.items()}
    for customer, quantity in found.quantity_by_customer.items():
        assert quantity == sum(
            float(str(row["quantity"])) for key, row in standing.items() if key[0] == customer
        )
    assert found.sales_by_customer == dict(sorted(Counter(customer for customer, _ in standing).items()))


def noon_after(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("UTC")) + timedelta(days=1)


def test_what_is_expected_is_what_a_judge_finds_line_by_line(deliveries: Deliveries) -> None:
    standing = assert_judged(deliveries.items, noon_after(LAST_DAY))
    assert_live(deliveries, standing)


@pytest.mark.parametrize(
    "last_day", [date(2024, 2, 29), date(2025, 12, 31), date(2026, 3, 5), date(2026, 1, 6)]
)
def test_expectations_hold_for_short_histories_that_end_on_any_day(last_day: date) -> None:
    found = plan(last_day.day, last_day, days=150)
    assert_live(found, assert_judged(found.items, noon_after(last_day)))
    assert found.held is not None


def test_every_fault_of_real_life_occurs(deliveries: Deliveries) -> None:
    codes: Counter[str] = Counter()
    for item in deliveries.items:
        if item.content == "sales":
            codes.update(item.expected.by_code)
    assert set(codes) == {
        "unreadable_record", "missing_field", "unknown_location", "unknown_product", "negative_quantity",
        "not_finite", "bad_price", "sold_in_future", "sold_before_opening", "sold_after_closing",
        "duplicate_sale_id",
    }  # fmt: skip
    sales = [item for item in deliveries.items if item.content == "sales"]
    assert any("," in text for item in sales for text in item.records["codes"])
    assert [item.expected.rejected for item in sales].count(True) == 2
    assert any(item.expected.repeat_of for item in sales)
    assert {item.format for item in deliveries.items} == {"xml", "csv", "jsonl", "parquet"}
    compressions = {file_kind(Path(item.name)).compression for item in deliveries.items}
    assert compressions == {None, "gzip", "zstd"}
    refused = {item.content for item in deliveries.items if item.content != "sales" and item.expected.invalid}
    assert refused == {"locations", "products", "prices"}


def test_the_demo_has_the_size_of_a_small_retailer(deliveries: Deliveries) -> None:
    lines = sum(item.records.height for item in deliveries.items if item.content == "sales")
    assert 150_000 <= lines <= 300_000
    assert (deliveries.last_day - deliveries.first_day).days == 547
    assert deliveries.live["sold_on"].min() == deliveries.first_day
    assert deliveries.live["sold_on"].max() == deliveries.last_day


def test_the_held_pair_is_a_location_and_sales_that_nobody_else_explains(deliveries: Deliveries) -> None:
    assert deliveries.held is not None
    master, sales = deliveries.held
    assert (master.content, sales.content, sales.number) == ("locations", "sales", master.number + 1)
    new = set(sales.records["location_id"])
    assert new == set(master.records["location_id"])
    for item in deliveries.items[: master.number - 1]:
        if item.content in ("locations", "sales") and item.customer_id == sales.customer_id:
            assert not new & set(item.records["location_id"])


def judged_by_the_rules(
    frame: pl.DataFrame, content: str, known: dict[str, pl.DataFrame], received: datetime
) -> list[str]:
    """The codes that the rules themselves give to the records of a file, joined by commas."""
    if content != "sales":
        verdicts = judge(frame, master_rules(content))
    else:
        joined = frame.with_columns(
            Repeats().mark(frame["sale_id"]),
            pl.lit(received).dt.convert_time_zone("UTC").alias("received_at"),
            pl.lit(1).alias("delivery_id"),
            pl.col("location_id").is_in(known["locations"]["location_id"].to_list()).alias("location_known"),
            pl.col("product_id").is_in(known["products"]["product_id"].to_list()).alias("product_known"),
        ).join(
            known["locations"].select("location_id", "time_zone", "opened_on", "closed_on"),
            on="location_id", how="left", maintain_order="left",
        )  # fmt: skip
        sold_on = local_days(joined["sold_at"], joined["time_zone"])
        verdicts = judge(joined.with_columns(sold_on.alias("sold_on")), SALES_RULES)
    codes = iter(verdicts.codes.to_list())
    return ["" if valid else ",".join(next(codes)) for valid in verdicts.valid]


def test_ingest_and_the_rules_say_of_every_file_what_is_expected(
    deliveries: Deliveries, tmp_path: Path
) -> None:
    known: dict[str, dict[str, pl.DataFrame]] = {"greenfield": {}, "brotzeit": {}}
    for item, path in zip(deliveries.items, deliveries.write(tmp_path), strict=True):
        assert path == tmp_path / item.customer_id / item.name
        assert path.name.startswith(item.content)
        kind, content = file_kind(path), CONTENTS[item.content]
        stream = io.BytesIO(path.read_bytes())
        blocks = read_blocks(stream, content, kind.format, kind.compression, LIMITS)
        if item.rejected:
            with pytest.raises(DeliveryError):
                list(blocks)
            continue
        frame = pl.concat(typed(block, content, LIMITS) for block in blocks)
        mine = known[item.customer_id]
        codes = judged_by_the_rules(frame, item.content, mine, noon_after(LAST_DAY))
        assert codes == item.records["codes"].to_list(), item.name
        if item.content in ("locations", "products"):
            good = frame.filter(pl.Series([not text for text in codes]))
            mine[item.content] = pl.concat([mine[item.content], good]) if item.content in mine else good


def test_a_copied_file_has_the_same_bytes_and_a_plan_is_repeatable(
    deliveries: Deliveries, tmp_path: Path
) -> None:
    copy = next(item for item in deliveries.items if item.repeat_of)
    first = deliveries.items[(copy.repeat_of or 0) - 1]
    assert copy.write(tmp_path).read_bytes() == first.write(tmp_path).read_bytes()
    assert copy.expected.by_code == first.expected.by_code
    again = plan(7, LAST_DAY)
    for item, same in zip(deliveries.items, again.items, strict=True):
        assert item.records.equals(same.records)


def test_another_seed_is_another_history_with_the_same_faults(short: Deliveries) -> None:
    other = plan(8, LAST_DAY, days=150)
    assert not short.live.equals(other.live)
    assert [i.expected.by_code for i in short.items] == [i.expected.by_code for i in other.items]


def test_a_later_last_day_gives_the_same_history_and_the_new_days(short: Deliveries) -> None:
    longer = plan_week(7, LAST_DAY + timedelta(days=1), days=150)
    assert longer.items[0].number == len(short.items) + 1
    corrected = next(item for item in longer.items if "correction" in item.name)
    changed = set(corrected.records["sale_id"])
    history = longer.live.filter(longer.live["sold_on"] <= LAST_DAY)
    before = {row["sale_id"]: row["quantity"] for row in short.live.rows(named=True)}
    after = {row["sale_id"]: row["quantity"] for row in history.rows(named=True)}
    assert before.keys() | changed == after.keys()
    assert {sale for sale in before if before[sale] != after[sale]} <= changed
    assert longer.live["sold_on"].max() == LAST_DAY + timedelta(days=7)
    assert_live(longer, assert_judged(short.items + longer.items, noon_after(longer.last_day)))


def test_the_second_week_goes_on_where_the_first_ended(short: Deliveries) -> None:
    first = plan_week(7, LAST_DAY + timedelta(days=1), days=150)
    second = plan_week(7, LAST_DAY + timedelta(days=8), LAST_DAY, days=150)
    assert second.items[0].number == first.items[-1].number + 1
    items = short.items + first.items + second.items
    assert_live(second, assert_judged(items, noon_after(second.last_day)))
    prices = [
        item.records["valid_from"] for item in (*first.items, *second.items) if item.content == "prices"
    ]
    assert min(prices[2]) > max(prices[0])


def test_weeks_and_histories_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingError, match="whole weeks"):
        plan_week(7, LAST_DAY + timedelta(days=3), LAST_DAY)
    with pytest.raises(SettingError, match="at least 150"):
        plan(7, LAST_DAY, days=60)
