"""The M5 import and score, on a made-up competition of two stores, and on the real one where it is there."""

import math
from collections import Counter
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from lxml import etree

from cli.m5 import WrittenFile, import_m5, score_m5
from cli.m5_score import LEVELS
from infra.errors import MissingPartError, SettingError
from infra.settings import load_settings

STORES = ("CA_1", "TX_2")
ITEMS = ("FOODS_1_001", "FOODS_1_002", "FOODS_2_001", "HOBBIES_1_001")
DAYS, CALENDAR_DAYS = 84, 98
FIRST = date(2011, 1, 29)
Rows = list[dict[str, str]]


class Competition:
    """A small competition as plain Python values."""

    def __init__(self) -> None:
        generator = np.random.default_rng(5)
        self.units = {
            (store, item): generator.poisson(1.2, DAYS).tolist() for store, item in product(STORES, ITEMS)
        }
        # An item that begins late, and one that never sells in a store.
        self.units["CA_1", "FOODS_2_001"][:40] = [0] * 40
        self.units["TX_2", "HOBBIES_1_001"] = [0] * DAYS
        self.prices: dict[tuple[str, str, int], float] = {}
        for (store, item), week in product(self.units, range(CALENDAR_DAYS // 7)):
            if (store, item) == ("CA_1", "FOODS_2_001") and week < 5:
                continue
            self.prices[store, item, 11101 + week] = (
                2.0 + ITEMS.index(item) + (0.5 if week in (6, 7, 8) else 0.0)
            )

    def frames(self) -> dict[str, pl.DataFrame]:
        sales = [
            {
                "id": f"{item}_{store}_evaluation",
                "item_id": item,
                "dept_id": item[:-4],
                "cat_id": item.split("_")[0],
                "store_id": store,
                "state_id": store[:2],
            }
            | {f"d_{day + 1}": units for day, units in enumerate(days)}
            for (store, item), days in self.units.items()
        ]
        calendar = [
            {
                "date": (FIRST + timedelta(days=day)).isoformat(),
                "wm_yr_wk": 11101 + day // 7,
                "d": f"d_{day + 1}",
                "event_name_1": {8: "SuperBowl", 50: "St. Patrick's"}.get(day),
                "event_type_1": {8: "Sporting", 50: "Cultural"}.get(day),
                "event_name_2": "Second" if day == 50 else None,
                "event_type_2": "Religious" if day == 50 else None,
                "snap_CA": int(day % 30 < 2),
                "snap_TX": int(day % 30 == 4),
                "snap_WI": 1,
            }
            for day in range(CALENDAR_DAYS)
        ]
        prices = [
            {"store_id": store, "item_id": item, "wm_yr_wk": week, "sell_price": price}
            for (store, item, week), price in self.prices.items()
        ]
        return {name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in
                (("sales", sales), ("calendar", calendar), ("prices", prices))}  # fmt: skip


@pytest.fixture(scope="module")
def competition() -> Competition:
    return Competition()


@pytest.fixture(params=["csv", "parquet"])
def folder(request: pytest.FixtureRequest, competition: Competition, tmp_path: Path) -> Path:
    frames, place = competition.frames(), tmp_path / "m5"
    place.mkdir()
    if request.param == "csv":
        frames["sales"].write_csv(place / "sales_train_evaluation.csv")
        frames["calendar"].write_csv(place / "calendar.csv")
        frames["prices"].write_csv(place / "sell_prices.csv")
    else:
        frames["sales"].write_parquet(place / f"sales_train_d1_d{DAYS}.parquet")
        frames["calendar"].write_parquet(place / "calendar.parquet")
        frames["prices"].with_columns(pl.col("store_id", "item_id").cast(pl.Categorical)).write_parquet(
            place / "sell_prices.parquet"
        )
    return place


def records(files: tuple[WrittenFile, ...], content: str) -> Rows:
    found: Rows = []
    for file in files:
        if file.content == content:
            read = [
                {str(k): str(v) for k, v in child.attrib.items()}
                for child in etree.parse(file.path).getroot()
            ]
            assert len(read) == file.records
            found += read
    return found


def test_every_non_zero_cell_becomes_one_sale_line(
    folder: Path, competition: Competition, tmp_path: Path
) -> None:
    files = import_m5(folder, tmp_path / "out")
    zones = {"CA_1": ZoneInfo("America/Los_Angeles"), "TX_2": ZoneInfo("America/Chicago")}
    expected = {}
    for (store, item), days in competition.units.items():
        for day, units in enumerate(days):
            if units:
                local = FIRST + timedelta(days=day)
                noon = datetime(local.year, local.month, local.day, 12, tzinfo=zones[store])
                price = competition.prices.get((store, item, 11101 + day // 7))
                expected[f"{store}-{item}-{day + 1}"] = (store, item, noon, units, price)
    found = {
        row["sale_id"]: (row["location_id"], row["product_id"], datetime.fromisoformat(row["sold_at"]),
                         int(row["quantity"]), float(row["unit_price"]) if "unit_price" in row else None)
        for row in records(files, "sales")
    }  # fmt: skip
    assert found == expected
    assert {row["sold_at"][-6:] for row in records(files, "sales")} == {
        "-08:00",
        "-07:00",
        "-06:00",
        "-05:00",
    }


def test_files_come_in_the_order_to_deliver_them(folder: Path, tmp_path: Path) -> None:
    files = import_m5(folder, tmp_path / "out", period="month", extension="jsonl.gz")
    assert [file.path.name for file in files] == [
        f"{name}.jsonl.gz" for name in (
            "locations", "products", "events", "prices-CA_1", "prices-TX_2",
            "sales-CA_1-2011-01", "sales-TX_2-2011-01", "sales-CA_1-2011-02", "sales-TX_2-2011-02",
            "sales-CA_1-2011-03", "sales-TX_2-2011-03", "sales-CA_1-2011-04", "sales-TX_2-2011-04")
    ]  # fmt: skip
    assert all(file.path.stat().st_size == file.size_bytes for file in files)
    for file in files:
        assert pl.read_ndjson(file.path).height == file.records
    quarters = import_m5(folder, tmp_path / "out", extension="csv")
    assert [f.path.name for f in quarters if "TX_2" in f.path.name] == [
        "prices-TX_2.csv", "sales-TX_2-2011-Q1.csv", "sales-TX_2-2011-Q2.csv",
    ]  # fmt: skip


def test_master_data_are_stores_items_events_and_benefit_days(folder: Path, tmp_path: Path) -> None:
    files = import_m5(folder, tmp_path / "out")
    common = {"kind": "supermarket", "currency": "USD"}
    assert records(files, "locations") == [
        {"location_id": "CA_1", "region": "CA", "time_zone": "America/Los_Angeles", **common},
        {"location_id": "TX_2", "region": "TX", "time_zone": "America/Chicago", **common},
    ]
    products = records(files, "products")
    assert [(row["product_id"], row["department"], row["category"]) for row in products] == [
        ("FOODS_1_001", "FOODS_1", "FOODS"), ("FOODS_1_002", "FOODS_1", "FOODS"),
        ("FOODS_2_001", "FOODS_2", "FOODS"), ("HOBBIES_1_001", "HOBBIES_1", "HOBBIES"),
    ]  # fmt: skip
    # TX_2 sold every item from the first week on.
    assert all("introduced_on" not in row for row in products)
    events = records(files, "events")
    assert len({row["event_id"] for row in events}) == len(events)
    assert [(row["name"], row["date"]) for row in events if row["type"] != "SNAP"] == [
        ("SuperBowl", "2011-02-06"), ("Second", "2011-03-20"), ("St. Patrick's", "2011-03-20"),
    ]  # fmt: skip
    benefits = Counter(row["region"] for row in events if row["type"] == "SNAP")
    assert benefits == {"CA": 8, "TX": 4}
    only = import_m5(folder, tmp_path / "only", stores=["CA_1"])
    introduced = {row["product_id"]: row.get("introduced_on") for row in records(only, "products")}
    assert introduced["FOODS_2_001"] is None
    assert {row["region"] for row in records(only, "events") if row["type"] == "SNAP"} == {"CA"}


def test_prices_are_change_points_that_give_every_week_back(
    folder: Path, competition: Competition, tmp_path: Path
) -> None:
    changes = records(import_m5(folder, tmp_path / "out"), "prices")
    assert len(changes) == 8 * 3
    for (store, item, week), price in competition.prices.items():
        start = (FIRST + timedelta(days=7 * (week - 11101))).isoformat()
        valid = [
            row for row in changes
            if (row["location_id"], row["product_id"]) == (store, item) and row["valid_from"] <= start
        ]  # fmt: skip
        assert float(valid[-1]["unit_price"]) == price


def test_first_and_last_day_bound_the_sales_and_keep_the_price_in_force(folder: Path, tmp_path: Path) -> None:
    files = import_m5(folder, tmp_path / "out", first_day="2011-03-20", last_day="2011-03-27")
    days = {row["sold_at"][:10] for row in records(files, "sales")}
    assert (min(days), max(days)) == ("2011-03-20", "2011-03-27")
    prices = [row for row in records(files, "prices") if row["product_id"] == "FOODS_1_001"]
    # The price of week 6 (from 12 March) is in force on the first day; the one before is not told.
    assert [row["valid_from"] for row in prices] == ["2011-03-12", "2011-04-02"] * 2
    assert min(row["date"] for row in records(files, "events")) >= "2011-03-20"
    same = import_m5(folder, tmp_path / "same", first_day=date(2011, 3, 20), last_day=date(2011, 3, 27))
    assert [f.path.read_bytes() for f in files] == [f.path.read_bytes() for f in same]


def test_arguments_that_cannot_be_meant_are_refused(folder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ({"stores": ["CA_9"]}, "stores: expected some of CA_1, TX_2, found CA_9"),
        ({"stores": []}, "found none"),
        ({"first_day": "20.3.2011"}, "first_day: expected a date"),
        ({"first_day": "2019-01-01"}, "expected days from 2011-01-29 to 2011-04-22"),
        ({"period": "decade"}, "period"),
        ({"extension": "xls"}, "extension"),
    ):
        with pytest.raises(SettingError, match=message):
            import_m5(folder, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_missing_files_are_named(tmp_path: Path, competition: Competition) -> None:
    with pytest.raises(MissingPartError, match="expected a folder"):
        import_m5(tmp_path / "nowhere", tmp_path / "out")
    competition.frames()["calendar"].write_csv(tmp_path / "calendar.csv")
    with pytest.raises(
        MissingPartError, match=r"prices \(sell_prices\.csv or sell_prices\.parquet\); sales \(sales_train"
    ):
        import_m5(tmp_path, tmp_path / "out")
    (tmp_path / "sell_prices.csv").write_text("store,price\n")
    competition.frames()["sales"].write_csv(tmp_path / "sales_train_validation.csv")
    with pytest.raises(SettingError, match=r"sell_prices\.csv: expected the columns"):
        import_m5(tmp_path, tmp_path / "out")


def forecasts(competition: Competition, stores: tuple[str, ...] = STORES) -> pl.DataFrame:
    """The same day a week before, from the day 28 days before the end on."""
    rows = [
        (store, item, FIRST + timedelta(days=DAYS - 28 + day), float(days[DAYS - 35 + day % 7]))
        for (store, item), days in competition.units.items() if store in stores for day in range(28)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=["location_id", "product_id", "date", "mean"], orient="row")


def naive_wrmsse(competition: Competition) -> list[float]:
    """The twelve levels in plain Python, by the words of the competitors' guide."""
    columns = {"state_id": lambda s, i: s[:2], "store_id": lambda s, i: s, "item_id": lambda s, i: i,
               "dept_id": lambda s, i: i[:-4], "cat_id": lambda s, i: i.split("_")[0]}  # fmt: skip
    start, scores = DAYS - 28, []
    dollars = {
        (store, item): sum(
            days[day] * competition.prices.get((store, item, 11101 + day // 7), 0.0)
            for day in range(start - 28, start)
        )
        for (store, item), days in competition.units.items()
    }
    for parts in LEVELS:
        groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        for store, item in competition.units:
            groups.setdefault(tuple(columns[part](store, item) for part in parts), []).append((store, item))
        score = 0.0
        for members in groups.values():
            total = [sum(competition.units[m][day] for m in members) for day in range(DAYS)]
            weight = sum(dollars[m] for m in members) / sum(dollars.values())
            if not weight:
                continue
            begin = next(day for day in range(start) if total[day])
            steps = [(total[day] - total[day - 1]) ** 2 for day in range(begin + 1, start)]
            errors = [(total[start + day] - total[start - 7 + day % 7]) ** 2 for day in range(28)]
            score += weight * math.sqrt(sum(errors) / 28 / (sum(steps) / len(steps)))
        scores.append(score)
    return scores


def test_the_score_is_that_of_the_competitors_guide(folder: Path, competition: Competition) -> None:
    first_day = FIRST + timedelta(days=DAYS - 28)
    score = score_m5(folder, forecasts(competition), first_day)
    expected = naive_wrmsse(competition)
    assert score["levels"] == pytest.approx(
        {f"level_{n}": value for n, value in enumerate(expected, start=1)}
    )
    assert score["wrmsse"] == pytest.approx(sum(expected) / 12)
    assert (score["stores"], score["series"], score["missing_cells"], score["scales"]) == (
        list(STORES), 8, 0, "computed")  # fmt: skip
    actual = sum(sum(days[-28:]) for days in competition.units.values())
    errors = sum(
        abs(days[DAYS - 28 + day] - days[DAYS - 35 + day % 7])
        for days in competition.units.values() for day in range(28)
    )  # fmt: skip
    assert score["wape"] == pytest.approx(errors / actual)


def test_official_scales_are_used_when_they_fit_and_perfect_forecasts_score_zero(
    folder: Path, competition: Competition
) -> None:
    first_day = FIRST + timedelta(days=DAYS - 28)
    series = competition.frames()["sales"]
    rows = []
    for number, parts in enumerate(LEVELS, start=1):
        keys = series.select(pl.concat_str(parts, separator="_") if parts else pl.lit("Total"))
        unique = sorted(set(keys.to_series()))
        rows += [
            (f"Level{number}", k + ("_evaluation" if number == 12 else ""), 1 / len(unique), 4.0)
            for k in unique
        ]
    table = pl.DataFrame(rows, schema=["level", "key", "weight_val", "scale_val_d56"], orient="row")
    table.write_parquet(folder / f"wrmsse_weights_scales_d{DAYS - 28}.parquet")
    score = score_m5(folder, forecasts(competition), first_day)
    assert score["scales"] == "official"
    total = [sum(days[day] for days in competition.units.values()) for day in range(DAYS)]
    errors = [(total[DAYS - 28 + day] - total[DAYS - 35 + day % 7]) ** 2 for day in range(28)]
    levels = score["levels"]
    assert isinstance(levels, dict)
    assert levels["level_1"] == pytest.approx(math.sqrt(sum(errors) / 28 / 4))
    assert score_m5(folder, forecasts(competition, ("CA_1",)), first_day)["scales"] == "computed"
    truth = pl.DataFrame(
        [(s, i, FIRST + timedelta(days=DAYS - 28 + day), float(days[DAYS - 28 + day]))
         for (s, i), days in competition.units.items() for day in range(28)],
        schema=["location_id", "product_id", "date", "mean"], orient="row")  # fmt: skip
    perfect = score_m5(folder, truth, first_day)
    assert (perfect["wrmsse"], perfect["wape"], perfect["bias"], perfect["rmsse"]) == (0, 0, 0, 0)


def test_missing_forecasts_are_counted_and_wrong_ones_refused(folder: Path, competition: Competition) -> None:
    first_day = FIRST + timedelta(days=DAYS - 28)
    made = forecasts(competition)
    assert score_m5(folder, made.head(-3), first_day)["missing_cells"] == 3
    for frame, day, message in (
        (made.drop("mean"), first_day, "missing mean"),
        (pl.concat([made, made.head(1)]), first_day, "found several"),
        (made.with_columns(pl.lit(None, pl.Float64).alias("mean")), first_day, "finite"),
        (made.with_columns(pl.lit("XX").alias("location_id")), first_day, "found XX"),
        (made, first_day + timedelta(days=1), "27 from it on"),
    ):
        with pytest.raises(SettingError, match=message):
            score_m5(folder, frame, day)


@pytest.mark.slow
def test_the_real_competition_of_one_store_is_imported_whole(tmp_path: Path) -> None:
    data = load_settings().data
    if data is None:
        pytest.skip("HEADRACE_DATA names no folder of real data")
    files = import_m5(
        data, tmp_path, stores=["CA_3"], first_day="2016-01-01", last_day="2016-04-24", extension="parquet"
    )
    counts = Counter[str]()
    for file in files:
        counts[file.content] += file.records
    assert (counts["locations"], counts["products"]) == (1, 3049)
    sales = pl.concat(pl.read_parquet(file.path) for file in files if file.content == "sales")
    assert sales.height == counts["sales"] > 150_000
    assert sales["unit_price"].null_count() == 0
    assert sales["sale_id"].n_unique() == sales.height
