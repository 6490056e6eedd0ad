import importlib.util
import re
from pathlib import Path

import pytest

import benchmarks.codec
import benchmarks.ingest
import benchmarks.join
import benchmarks.scale
from benchmarks.race import Run
from benchmarks.suite import SUITE
from benchmarks.tables import FOLDER, PAGE, TABLES, load_results, page, table
from benchmarks.validate import figures

MACHINE = {
    "on": "2026-11-25",
    "cores": 2,
    "processor": "a processor",
    "memory_gib": 24,
    "system": "Linux 6.1",
    "python": "3.11.7",
    "versions": {"polars": "2.1.0"},
}
ROOT = Path(FOLDER).parent
CODECS = ("", "fastavro_", "confluent_", "pyruhvro_")


def test_the_page_of_figures_follows_from_the_results() -> None:
    assert PAGE.read_text() == page(PAGE.read_text(), load_results()), "run `python -m benchmarks.suite`"


def test_each_benchmark_has_a_module_a_table_a_place_on_the_page_and_a_make_target() -> None:
    placed = set(re.findall(r"<!-- figures: ([a-z0-9-]+) -->", PAGE.read_text()))
    targets = set(re.findall(r"^bench-([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(SUITE) == set(TABLES) == placed
    assert set(SUITE) <= targets
    assert all(importlib.util.find_spec(module) for module, *_ in SUITE.values())


def test_a_table_shows_what_was_measured_and_on_what() -> None:
    results = {"restore": {"machine": MACHINE, "figures": {"products": 1_000_000, "of_replay": 0.328}}}
    assert table("restore", results).splitlines() == [
        "| | |",
        "|---|--:|",
        "| products | 1,000,000 |",
        "| as a share of reading the topics | 0.328 |",
        "",
        "2026-11-25: 2 cores (a processor), 24 GiB, Linux 6.1, Python 3.11.7; polars 2.1.0.",
    ]


def test_a_table_says_who_did_not_run_and_why() -> None:
    results = {"validate": {"machine": MACHINE, "figures": {"not_run": {"faust": "a\nno wheel for | this"}}}}
    assert "| faust | did not run: no wheel for / this |" in table("validate", results)


def test_a_benchmark_that_was_never_run_says_so_and_the_words_around_stay() -> None:
    text = "before\n<!-- figures: codec -->\nold\n<!-- end -->\nafter\n"
    assert page(text, {}) == "before\n<!-- figures: codec -->\nNot measured yet.\n<!-- end -->\nafter\n"


def test_the_figures_of_validate_have_the_names_that_are_asked_for() -> None:
    runs = {
        "validate": [Run(300.0, 3.0, 200.0), Run(200.0, 4.0, 250.0)],
        "pass_through": [Run(400.0, 2.0, 100.0), Run(400.0, 2.0, 100.0)],
        "quix": [Run(15.0, 60.0, 90.0), Run(20.0, 50.0, 90.0)],
        "bytewax": [Run(10.0, 60.0, 90.0), Run(10.0, 50.0, 90.0)],
    }
    found = figures(runs, {"faust": "why"})
    assert found["sales_per_s"] == 250
    assert found["pass_through_per_s"] == 400
    assert found["of_pass_through"] == pytest.approx(0.625)
    assert found["quix_per_s"] == 18
    assert found["vs_best_python"] == pytest.approx(15.0)
    assert found["not_run"] == {"faust": "why"}


def test_every_row_of_a_table_is_a_name_that_its_benchmark_prints() -> None:
    run = Run(100.0, 2.0, 300.0)
    step = benchmarks.scale.Step(1_000, 2.0, 3.0, 4, 0.5, 0.1, 200.0)
    rates = {f"{name}{way}_rows_per_s": [1.0] for name in CODECS for way in ("decode", "encode")}
    by_format = {name: [5.0] for name in benchmarks.ingest.FORMATS}
    printed = {
        "join": benchmarks.join.figures({"directory": [run], "s3": [run]}, [400.0], [10.0], {}),
        "ingest": benchmarks.ingest.figures(
            by_format, dict.fromkeys(by_format, 150.0), {"expat": [9.0], "polars_csv": [9.0]}, {"xml": 200.0}
        )
        | {"large_mb": 2_000},
        "codec": benchmarks.codec.figures(rates, {}),
        "scale": benchmarks.scale.figures(
            {count: [run] for count in benchmarks.scale.PROCESSES},
            {count: [run] for count in benchmarks.scale.PARTITIONS},
            [step, step],
        ),
    }
    for name, found in printed.items():
        shown = table(name, {name: {"machine": MACHINE, "figures": found}})
        assert [row.key for row in TABLES[name] if f"| {row.words} |" not in shown] == []
