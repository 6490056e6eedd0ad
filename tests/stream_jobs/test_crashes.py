"""Jobs that are killed with -9 at bad moments, and start again."""

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from confluent_kafka import TopicPartition

from infra.errors import FencedError
from infra.extents import end_offsets
from infra.kafka import admin
from infra.settings import Settings
from stream_jobs.validate import run_validate
from tests.running import job_process, running_job, wait_until
from tests.stream_jobs.lake_rows import files, rows
from tests.stream_jobs.world import World

VALIDATE = "from stream_jobs.validate import run_validate\nrun_validate(settings, store, stop)"
JOIN = "from stream_jobs.join import run_join\nrun_join(settings, store, stop)"
REPORT = "from stream_jobs.report import run_report\nrun_report(settings, store, stop)"


@pytest.fixture
def jobs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes started in the test; those that live at its end are ended."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def written(settings: Settings, topic: str) -> int:
    """End of all writing in a topic, also of what is not committed."""
    places = [TopicPartition(topic, number) for number in range(settings.sales_partitions)]
    return sum(end_offsets(admin(settings), places).values())


def deliver_all(world: World, count: int) -> tuple[int, int]:
    """Deliver master data and `count` good and `count` bad sales in each of two partitions."""
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    return world.deliver_sales(count), world.deliver_sales(count, quantity=-1.0)


def assert_once(world: World, good: int, bad: int, count: int) -> None:
    """Every sale has one verdict, one message, and is tallied once."""
    assert world.judged() == (2 * count, 2 * count)
    places = Counter((m.partition(), m.value()) for m in world.messages("sales-validated"))
    assert len(places) == places.total() == 2 * count
    errors = Counter((e["delivery_id"], e["position"]) for e in world.records("sales-error"))
    assert errors == {(bad, position): 1 for position in range(1, 2 * count + 1)}
    tallied = Counter[int]()
    for tally in world.records("delivery-tallies"):
        tallied[tally["delivery_id"]] += tally["valid"] + tally["invalid"]
    assert tallied == {good: 2 * count, bad: 2 * count}


def test_validate_killed_inside_a_transaction_judges_every_sale_once(
    world: World, jobs: list[subprocess.Popen[bytes]]
) -> None:
    good, bad = deliver_all(world, 150)
    never = world.with_stream(transaction_wait_ms=3_600_000, transaction_rows_max=1_000_000)
    before = written(world.settings, "sales-validated")
    jobs.append(job_process(never, VALIDATE))
    wait_until(lambda: written(world.settings, "sales-validated") == before + 300, "uncommitted sales")
    jobs[0].kill()
    jobs[0].wait(10)
    assert world.judged() == (0, 0)
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: sum(world.judged()) >= 600, "all verdicts")
    assert_once(world, good, bad, 150)


def test_jobs_killed_again_and_again_bring_each_sale_to_the_lake_once(
    world: World, jobs: list[subprocess.Popen[bytes]]
) -> None:
    settings = world.with_stream(
        batch_rows_max=50, transaction_rows_max=100, flush_rows_max=400, flush_s_max=3600.0
    )
    count = 3000
    codes = {"validate": VALIDATE, "join": JOIN, "report": REPORT}
    living = {name: job_process(settings, code) for name, code in codes.items()}
    jobs.extend(living.values())
    good, bad = deliver_all(world, count)

    def killed(name: str) -> None:
        living[name].send_signal(signal.SIGKILL)
        living[name].wait(10)
        living[name] = job_process(settings, codes[name])
        jobs.append(living[name])

    wait_until(lambda: sum(world.judged()) > 0, "the first verdicts")
    killed("validate")
    wait_until(lambda: len(files(settings, "sales_joined")) > 0, "the first file")
    killed("join")
    wait_until(lambda: world.report(good) != {}, "the first report")
    killed("report")
    killed("validate")
    wait_until(lambda: len(files(settings, "sales_joined")) > 4, "some files")
    killed("join")
    wait_until(lambda: sum(world.judged()) >= 4 * count, "all verdicts")
    assert_once(world, good, bad, count)
    wait_until(
        lambda: world.report(bad).get("state") == world.report(good).get("state") == "done", "the reports"
    )
    report = world.report(bad)
    assert (report["records"], report["valid"], report["invalid"]) == (2 * count, 0, 2 * count)
    assert report["by_code"] == {"negative_quantity": 2 * count}
    told = [r for r in world.records("delivery-reports") if r["delivery_id"] == good]
    states = [(r["state"], r["valid"], r["reason"]) for r in told]
    assert all(a != b for a, b in pairwise(states))
    # What is left in the buffers is flushed by an orderly stop once it has been read.
    living["join"].terminate()
    assert living["join"].wait(60) == 0
    jobs.append(
        job_process(
            settings.model_copy(update={"stream": settings.stream.model_copy(update={"flush_s_max": 0.2})}),
            JOIN,
        )
    )
    wait_until(
        lambda: rows(settings, "sales_joined", world.customer).height >= 2 * count, "all rows in the lake"
    )
    found = rows(settings, "sales_joined", world.customer)
    assert found["sale_id"].n_unique() == found.height == 2 * count


def test_a_second_worker_of_the_same_name_stops_the_first(world: World) -> None:
    with (
        pytest.raises(FencedError),
        running_job(lambda stop: run_validate(world.settings, world.store, stop)) as first,
    ):
        good, bad = deliver_all(world, 50)
        wait_until(lambda: sum(world.judged()) == 200, "verdicts of the first")
        with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
            first.join(60)
            world.deliver_sales(50)
            wait_until(lambda: sum(world.judged()) == 300, "verdicts of the second")
    assert good < bad
    assert len({m.value() for m in world.messages("sales-validated")}) == 200
    assert len(world.messages("sales-validated")) == 200
