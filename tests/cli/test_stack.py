"""The command line on a whole stack, as an operator and a customer meet it, with what goes wrong in real life."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from cli.own_token import own_headers
from infra.kafka import producer
from infra.settings import Settings, settings_environment
from schemas.catalogue import SALES_INPUT
from serving.client import Headrace
from tests.cli.commands import headrace
from tests.running import free_port

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
CUSTOMER = "corner-shop"
HEADER = "sale_id,location_id,product_id,sold_at,quantity,unit_price\n"
BOMB = """<!DOCTYPE sales [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>
<sales><sale><sale_id>&c;</sale_id></sale></sales>"""


@pytest.fixture(scope="module")
def masters(stack: Settings) -> Settings:
    """The stack, once it knows a location and a product."""
    found = headrace(
        stack, "deliver", "--customer", CUSTOMER, "--wait", "60",
        *(str(FORMATS / name) for name in ("locations.csv", "products.csv")),
    )  # fmt: skip
    assert found.returncode == 0, found.stdout
    return stack


def sales_file(folder: Path, name: str, ids: range) -> Path:
    """A file of sales like the documented one."""
    example = (FORMATS / "sales.csv").read_text().splitlines()
    first = example[1].split(",")
    place = example[0].split(",").index("sale_id")
    lines = [",".join([*first[:place], f"{name}-{number}", *first[place + 1 :]]) for number in ids]
    path = folder / f"{name}.csv"
    path.write_text("\n".join([example[0], *lines]) + "\n")
    return path


def answer_of(settings: Settings, name: str) -> dict[str, object]:
    """What the endpoint says of the newest delivery of this file name."""
    url = f"http://127.0.0.1:{settings.ports.http}/v1/deliveries"
    found = (
        httpx.get(url, params={"customer_id": CUSTOMER}, headers=own_headers(settings), timeout=30)
        .raise_for_status()
        .json()
    )
    return next(item for item in found["deliveries"] if item["name"] == name)


def test_status_shows_every_part_and_every_delivery(masters: Settings) -> None:
    found = headrace(masters, "status")
    assert found.returncode == 0, found.stdout
    for word in ("registry", "validate", "flows", "sales-input", "locations.csv", "products.csv", "done"):
        assert word in found.stdout
    assert " no " not in found.stdout


def test_bad_files_are_answered_one_by_one_and_good_ones_go_on(masters: Settings, tmp_path: Path) -> None:
    bomb, broken = tmp_path / "sales-bomb.xml", tmp_path / "sales-broken.xml"
    bomb.write_text(BOMB)
    broken.write_text("<sales><sale><sale_id>1</sale_id></sale><sale>")
    good = sales_file(tmp_path, "sales-good", range(3))
    files = [str(path) for path in (bomb, broken, good)]
    found = headrace(masters, "deliver", "--customer", CUSTOMER, "--wait", "60", *files)
    assert found.returncode == 1
    assert found.stdout.count("headrace: ") == 1
    assert "Traceback" not in found.stdout
    assert "without a document type" in str(answer_of(masters, bomb.name)["reason"])
    assert "well-formed" in str(answer_of(masters, broken.name)["reason"])
    assert answer_of(masters, good.name)["valid"] == 3


def test_a_program_delivers_waits_and_is_told_what_was_done(masters: Settings, tmp_path: Path) -> None:
    token = own_headers(masters)["Authorization"].removeprefix("Bearer ")
    path = sales_file(tmp_path, "sales-of-a-program", range(4))
    with Headrace(masters.http_url, token) as client:
        report = client.wait(client.deliver(CUSTOMER, path).delivery_id, timeout_s=90)
    assert (report.state, report.valid, report.name) == ("done", 4, path.name)
    told = httpx.get(
        f"{masters.http_url}/v1/events",
        params={"customer_id": CUSTOMER, "seconds": 0},
        headers={**own_headers(masters), "Last-Event-ID": "- - -"},
        timeout=30,
    )
    done = [
        json.loads(line.removeprefix("data: ")) for line in told.text.splitlines() if "delivery_id" in line
    ]
    assert done[-1]["delivery_id"] == report.delivery_id
    assert [one["done_at"] for one in done] == sorted(one["done_at"] for one in done)
    assert {"locations.csv", "products.csv"} <= {one["name"] for one in done}


def test_a_message_that_is_no_avro_costs_only_itself(masters: Settings, tmp_path: Path) -> None:
    writer = producer(masters)
    writer.produce(SALES_INPUT, b"this is no Avro", partition=0)
    assert writer.flush(20) == 0
    good = sales_file(tmp_path, "sales-after-poison", range(5))
    found = headrace(masters, "deliver", "--customer", CUSTOMER, "--wait", "60", str(good))
    assert found.returncode == 0, found.stdout
    assert answer_of(masters, good.name)["valid"] == 5


def test_an_incompatible_schema_is_refused_and_the_jobs_go_on(masters: Settings, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{masters.ports.registry}/subjects/{SALES_INPUT}-value/versions"
    schema = json.loads((Path(__file__).parents[2] / "schemas" / "avro" / "sale.avsc").read_text())
    schema["fields"].append({"name": "till", "type": "int", "doc": "A field that old sales do not have."})
    answer = httpx.post(url, json={"schema": json.dumps(schema)}, timeout=30)
    assert answer.status_code == 409
    assert "'till'" in answer.json()["message"]
    good = sales_file(tmp_path, "sales-after-schema", range(2))
    assert headrace(masters, "deliver", "--customer", CUSTOMER, "--wait", "60", str(good)).returncode == 0


def test_a_job_that_is_killed_is_started_again(masters: Settings, tmp_path: Path) -> None:
    for job in ("ingest", "validate", "join", "report"):
        subprocess.run(["pkill", "-9", "-f", f"cli.jobs {job}.*{masters.ports.metrics // 100}"], check=True)
    good = sales_file(tmp_path, "sales-after-kill", range(7))
    found = headrace(masters, "deliver", "--customer", CUSTOMER, "--wait", "120", str(good))
    assert found.returncode == 0, found.stdout
    assert answer_of(masters, good.name)["valid"] == 7


@pytest.mark.parametrize(
    ("code", "words", "environment"),
    [
        (2, "HEADRACE_BROKR is no setting; did you mean HEADRACE_BROKER?", {"HEADRACE_BROKR": "x"}),
        (2, "HEADRACE_PORTS__HTTP: input should be less than", {"HEADRACE_PORTS__HTTP": "70000"}),
        (2, "HEADRACE_LAKE", {"HEADRACE_LAKE": str(Path(__file__) / "lake")}),
        (3, "no Kafka broker answers", {"HEADRACE_BROKER": "127.0.0.1:1"}),
    ],
)
def test_what_is_set_up_wrongly_is_said_in_one_line(
    masters: Settings, tmp_path: Path, code: int, words: str, environment: dict[str, str]
) -> None:
    good = sales_file(tmp_path, "sales-never", range(1))
    found = headrace(masters, "deliver", "--customer", CUSTOMER, str(good), **environment)
    told = [line for line in found.stdout.splitlines() if line.startswith("headrace: ")]
    assert found.returncode == code, found.stdout
    assert len(told) == 1
    assert words in told[0]
    assert "Traceback" not in found.stdout


def test_a_taken_port_is_said(stack: Settings, tmp_path: Path) -> None:
    ports = stack.ports.model_copy(update={"broker": free_port()})
    other = stack.model_copy(update={"home": tmp_path / "other", "ports": ports})
    found = headrace(other, "up")
    assert found.returncode == 3
    assert f"port {stack.ports.registry} for registry cannot be had" in found.stdout
    assert "HEADRACE_PORTS__REGISTRY" in found.stdout


def test_a_file_in_the_inbox_is_delivered(masters: Settings, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / CUSTOMER).mkdir(parents=True)
    path = sales_file(tmp_path, "sales-from-inbox", range(4))
    shutil.move(path, inbox / CUSTOMER / path.name)
    environment = {**os.environ, **settings_environment(masters), "HEADRACE_INGEST__INBOX": str(inbox)}
    job = subprocess.Popen([sys.executable, "-m", "cli.main", "job", "inbox"], env=environment)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if answer_of(masters, path.name)["valid"] == 4:
                    break
            except StopIteration:
                pass
            time.sleep(0.3)
        assert answer_of(masters, path.name)["valid"] == 4
    finally:
        job.terminate()
        assert job.wait(30) == 0
