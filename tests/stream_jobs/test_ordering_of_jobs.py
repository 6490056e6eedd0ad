"""The ordering rule over real jobs: whatever is slow, restarted or there twice, the verdicts are those of one slow
process."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from datetime import timedelta
from io import BytesIO
from threading import Event, Thread

import pytest

from stream_jobs.ingest.accept import Desk
from stream_jobs.ingest.job import run_ingest
from stream_jobs.validate import run_validate
from tests.running import running_job, wait_until
from tests.stream_jobs.world import NOON, World

PLACES = range(5)
Verdicts = dict[tuple[int, int], tuple[str, ...]]
"""The codes of each sale, by delivery and line."""


class OneSlowProcess:
    """Takes one delivery after the other and judges its sales before it looks at the next."""

    def __init__(self) -> None:
        self._open: dict[int, bool] = {}
        self.verdicts: Verdicts = {}

    def locations(self, places: list[int], *, opened: bool) -> None:
        self._open |= dict.fromkeys(places, opened)

    def sales(self, delivery_id: int, places: list[int]) -> None:
        codes = {None: ("unknown_location",), False: ("sold_before_opening",), True: ()}
        for line, place in enumerate(places, 1):
            self.verdicts[delivery_id, line] = codes[self._open.get(place)]


class Services:
    """The jobs of an installation, of which any may be restarted."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self._jobs: dict[str, Callable[[Event], None]] = {
            content: self._ingest(world, content) for content in ("sales", "locations", "products")
        }
        self._jobs |= {name: self._validate(world, name) for name in ("a", "b")}
        self._running: dict[str, AbstractContextManager[Thread]] = {}
        stack.callback(self.stop_all)

    @staticmethod
    def _ingest(world: World, content: str) -> Callable[[Event], None]:
        small = world.settings.ingest.model_copy(update={"chunk_rows": 2})
        settings = world.settings.model_copy(update={"ingest": small})
        return lambda stop: run_ingest(settings, world.store, frozenset({content}), stop)

    @staticmethod
    def _validate(world: World, name: str) -> Callable[[Event], None]:
        settings = world.with_stream(worker=name, transaction_wait_ms=20)
        return lambda stop: run_validate(settings, world.store, stop)

    @property
    def names(self) -> list[str]:
        return list(self._jobs)

    def toggle(self, name: str) -> None:
        """Stop a job that runs, start one that does not."""
        if name in self._running:
            self.stop(name)
        else:
            self.start(name)

    def start(self, name: str) -> None:
        if name not in self._running:
            self._running[name] = running_job(self._jobs[name])
            self._running[name].__enter__()

    def stop(self, name: str) -> None:
        self._running.pop(name).__exit__(None, None, None)

    def stop_all(self) -> None:
        for name in list(self._running):
            self.stop(name)


@pytest.mark.parametrize("seed", [1, 2])
def test_jobs_that_come_and_go_in_any_order_judge_like_one_slow_process(world: World, seed: int) -> None:
    dice, expected = random.Random(seed), OneSlowProcess()
    with ExitStack() as stack:
        services = Services(world, stack)
        desks = [stack.enter_context(closing(Desk(world.settings, world.store))) for _ in range(2)]

        def deliver(content: str, header: str, lines: list[str]) -> int:
            text = "\n".join([header, *lines, ""])
            desk = dice.choice(desks)
            return desk.accept(world.customer, content, "file.csv", BytesIO(text.encode())).delivery_id

        deliver("products", "product_id", ["P1"])
        for number in range(7):
            services.toggle(dice.choice(services.names))
            places = dice.choices(PLACES, k=dice.randint(1, 6))
            if dice.random() < 0.5:
                places, opened = sorted(set(places)), dice.random() < 0.7
                day = (NOON + timedelta(days=-30 if opened else 30)).date()
                lines = [f"L{place},{day},{number}" for place in places]
                deliver("locations", "location_id,opened_on,name", lines)
                expected.locations(places, opened=opened)
            else:
                lines = [
                    f"s{number}-{line},L{place},P1,{NOON.isoformat()},1.0,2.0"
                    for line, place in enumerate(places)
                ]
                header = "sale_id,location_id,product_id,sold_at,quantity,unit_price"
                expected.sales(deliver("sales", header, lines), places)
        for name in dice.sample(services.names, k=len(services.names)):
            services.start(name)
        wait_until(lambda: len(verdicts(world)) >= len(expected.verdicts), "all verdicts")
    assert verdicts(world) == expected.verdicts


def verdicts(world: World) -> Verdicts:
    """The verdict of each sale; one that has two is found by its count."""
    valid, refused = world.records("sales-validated"), world.records("sales-error")
    told = [((r["delivery_id"], r["position"]), tuple(r.get("codes", ()))) for r in [*valid, *refused]]
    assert len(dict(told)) == len(told)
    return dict(told)
