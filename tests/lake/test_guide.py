"""What the lake says of itself, and that its examples run as they stand there."""

import datetime as dt
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.blobs import BlobStore, DirectoryStore, open_store
from infra.settings import Settings, load_settings, settings_environment
from lake import catalogue, dictionary
from lake.append import AppendTable
from lake.guide import README, explain, markdown
from lake.seal import seal
from schemas.lake_tables import LAKE_TABLES
from tests.lake.frames import NOON, append, sale
from tests.lake.test_read import refused
from tests.s3 import KEY, SECRET, S3Server

NEW_YEAR = dt.date(2026, 1, 1)
CHECKS = """
import json
print(json.dumps({
    "pandas": [len(frame), str(frame["customer_id"].iloc[0]), str(frame["sold_on"].min()), frame["quantity"].sum()],
    "polars": by_product.rows(),
    "duckdb": [sales.height, str(sales["sold_on"].dtype), sales["quantity"].sum()],
    "pyarrow": [lines, unit.decode()],
    "files": [tables["sales_daily"]["rows"], len(days)],
    "headrace": [len(spring), first.height],
}))
"""


def filled(store: BlobStore) -> None:
    """Three days of two customers, one of them with an id that looks like a number; one day is before the new year."""
    days = [NEW_YEAR + dt.timedelta(days=number) for number in (-1, 0, 1)]
    table = AppendTable(store, "sales_joined")
    for customer_id in ("acme", "007"):
        lines = [
            sale(sale_id=str(n), position=n, sold_on=day, customer_id=customer_id)
            for n, day in enumerate(days)
        ]
        append(table, 0, lines)
        seal(store, customer_id, NOON)


def run_examples(settings: Settings, **environment: str) -> dict[str, list[object]]:
    text = open_store(settings).read(README).decode()
    code = "\n".join([*re.findall(r"```python\n(.*?)```", text, re.DOTALL), CHECKS])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **settings_environment(settings), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[object]] = json.loads(done.stdout)
    return found


FOUND = {
    "pandas": [2, "acme", "2026-01-01", 4.0],
    "polars": [["p1", 4.0]],
    "duckdb": [2, "Date", 4.0],
    "pyarrow": [2, "the product's unit"],
    "files": [6, 3],
    "headrace": [2, 3],
}


def test_the_examples_in_a_lake_in_a_directory_run_as_they_stand(tmp_path: Path) -> None:
    settings = load_settings(lake=str(tmp_path / "lake"))
    filled(open_store(settings))
    assert run_examples(settings) == FOUND


def test_the_examples_in_a_lake_on_s3_run_as_they_stand(s3_server: S3Server) -> None:
    settings = s3_server.settings()
    filled(open_store(settings))
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    assert run_examples(settings, AWS_ENDPOINT_URL=s3_server.url, **keys) == FOUND


def test_the_catalogue_tells_columns_folders_and_counts(store: DirectoryStore) -> None:
    filled(store)
    found = json.loads(store.read(catalogue.PATH))["tables"]
    assert set(found) == set(LAKE_TABLES)
    daily = found["sales_daily"]
    assert (daily["objects"], daily["rows"]) == (6, 6)
    assert daily["size_bytes"] == sum(stat.size_bytes for stat in store.stats("sales_daily").values())
    assert daily["folders"]["customer_id=007"]["last_day"] == "2026-01-02"
    assert daily["folders"]["customer_id=007"]["manifest"] == 1
    assert [column["name"] for column in daily["columns"] if column["is_folder"]] == [
        "customer_id",
        "sold_on",
    ]
    joined = found["sales_joined"]
    assert joined["folders"]["arrived_on=2026-03-02"] == {
        "objects": 2,
        "rows": 6,
        "size_bytes": joined["size_bytes"],
    }


def test_a_seal_counts_the_newest_days_again_and_make_all_of_them(store: DirectoryStore) -> None:
    table = AppendTable(store, "sales_joined")
    for number in range(4):
        append(table, 0, [sale(sale_id=str(number))], NOON + dt.timedelta(days=number))
        seal(store, "acme", NOON)
    whole = catalogue.read(store)
    explain(store, NOON)
    assert catalogue.read(store) == whole
    for path in (table.files()[0].path, table.files()[2].path):
        store.delete(path)
    append(table, 0, [sale(sale_id="4")], NOON + dt.timedelta(days=4))
    seal(store, "acme", NOON)
    after = catalogue.read(store)
    assert after is not None
    folders = [f"arrived_on=2026-03-0{day}" for day in (3, 5, 6)]
    assert list(after["tables"]["sales_joined"]["folders"]) == folders


@pytest.mark.parametrize("damage", [b"no JSON", b"{}", b'{"tables": {"old": {}}}', b"[]"])
def test_a_catalogue_that_cannot_be_read_is_made_anew(store: DirectoryStore, damage: bytes) -> None:
    store.replace(catalogue.PATH, damage)
    filled(store)
    found = catalogue.read(store)
    assert found is not None
    assert found["tables"]["sales_sealed"]["rows"] == 6


def test_damage_that_keeps_the_catalogue_from_being_written_keeps_nobody_from_sealing(
    store: DirectoryStore,
) -> None:
    filled(store)
    append(AppendTable(store, "sales_error"), 0, [refused()])
    (damaged,) = store.list("sales_error")
    store.replace(damaged, b"no Parquet")
    append(AppendTable(store, "sales_joined"), 0, [sale(sale_id="late", delivery_id=2)])
    manifest = seal(store, "acme", NOON)
    assert manifest is not None
    assert manifest.seq == 2


def test_page_and_dictionary_are_those_of_this_version(store: DirectoryStore) -> None:
    store.replace(README, b"of an older version")
    explain(store, NOON)
    assert store.read(README).decode() == markdown(store.location)
    assert store.read(dictionary.PATH).decode() == dictionary.markdown()
    before = store.stat(README)
    explain(store, NOON)
    assert store.stat(README) == before


def test_a_manifest_that_cannot_be_read_keeps_no_other_customer_from_being_sealed(
    store: DirectoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.replace("manifests/broken/0000000001.json", b"not a manifest")
    append(AppendTable(store, "sales_joined"), 0, [sale(sale_id="1", position=0, customer_id="acme")])
    assert seal(store, "acme", NOON) is not None
    assert json.loads(store.read(catalogue.PATH))["tables"]["sales_daily"]["rows"] == 1
    assert "manifests/broken/0000000001.json: expected a manifest" in caplog.text
