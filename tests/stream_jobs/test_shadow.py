"""Shadow validation: what differs, compared with a naive twin; and a shadow beside the live job on a broker."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import MissingPartError, SettingError
from stream_jobs.rule_sets import load_rules
from stream_jobs.shadow import differences, drop, make_topics, read_differences, shadow_outputs
from stream_jobs.starting import Start
from stream_jobs.validate import run_validate
from tests.running import running_job, wait_until
from tests.stream_jobs.world import World

MY_RULES = """
import polars as pl
from stream_jobs.rules import SALES_RULES, Rule

RULES = (
    *(rule for rule in SALES_RULES if rule.code != "bad_price"),
    Rule("too_many", pl.col("quantity") > 100, "Expected at most 100; found {quantity}."),
)
"""

Refusal = tuple[int, int, tuple[str, ...]]
REFUSALS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 6),
        st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True).map(tuple),
    ),
    max_size=12,
)


def refusals(found: list[Refusal]) -> pl.DataFrame:
    rows = [
        ("sales-input", at[0], at[1], "acme", 1, f"s{at[1]}", "L", "P", list(at[2]), ["why"] * len(at[2]))
        for at in found
    ]
    return pl.DataFrame(
        rows,
        schema={
            "source_topic": pl.String, "source_partition": pl.Int32, "source_offset": pl.Int64,
            "customer_id": pl.String, "delivery_id": pl.Int64, "sale_id": pl.String, "location_id": pl.String,
            "product_id": pl.String, "codes": pl.List(pl.String), "messages": pl.List(pl.String),
        },
        orient="row",
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(live=REFUSALS, shadow=REFUSALS, first=st.integers(0, 3), end=st.integers(3, 7))
def test_differences_are_those_of_the_last_verdicts_on_what_both_have_judged(
    live: list[Refusal], shadow: list[Refusal], first: int, end: int
) -> None:
    found = differences(refusals(live), refusals(shadow), {0: (first, end), 1: (0, 2)})
    inside = {(0, at) for at in range(first, end)} | {(1, 0), (1, 1)}
    words = [{(p, o): set(codes) for p, o, codes in side if (p, o) in inside} for side in (live, shadow)]
    differ = {at: (words[0].get(at, set()), words[1].get(at, set())) for at in inside}
    expected = {at: sides for at, sides in differ.items() if sides[0] != sides[1]}
    told = {
        (row["source_partition"], row["source_offset"]): (set(row["live"]), set(row["shadow"]))
        for row in found.rows.iter_rows(named=True)
    }
    assert told == expected
    counts = {
        code: (
            sum(code in a and code in b for a, b in differ.values()),
            sum(code in a and code not in b for a, b in differ.values()),
            sum(code not in a and code in b for a, b in differ.values()),
        )
        for code in "abc"
    }
    assert {code: tuple(rest) for code, *rest in found.by_code.rows()} == {
        code: count for code, count in counts.items() if any(count)
    }


@pytest.fixture
def my_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of rules in the folder where the job starts."""
    name = f"my_rules_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MY_RULES)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_shadow_judges_beside_the_live_job_and_its_differences_are_told(
    world: World, my_rules: str
) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    world.deliver_sales(20)
    dear = world.deliver_sales(1, partitions=[1], unit_price=-1.0)
    many = world.deliver_sales(1, partitions=[0], quantity=101.0)
    world.deliver_sales(2, partitions=[0], quantity=-1.0)
    name = f"try-{world.customer}"
    outputs = shadow_outputs(name)
    rules = load_rules(my_rules)
    make_topics(world.settings, outputs)
    # The topics are shared with other tests: begin where this one's deliveries do.
    start = Start(delivery_id=dear)
    with running_job(lambda stop: run_validate(world.settings, world.store, stop)):
        wait_until(lambda: world.judged() == (41, 3), "all verdicts")
        before = world.messages("sales-validated")
        with running_job(lambda stop: run_validate(world.settings, world.store, stop, rules, outputs, start)):
            wait_until(lambda: own(world, name).height == 2, "the verdicts of the shadow")
    told = {
        row["delivery_id"]: (row["live"], row["shadow"]) for row in own(world, name).iter_rows(named=True)
    }
    assert told == {dear: (["bad_price"], []), many: ([], ["too_many"])}
    assert len(world.messages("sales-validated")) == len(before)
    assert world.judged() == (41, 3)
    drop(world.settings, name)
    with pytest.raises(MissingPartError, match="there is no shadow"):
        read_differences(world.settings, name)


def own(world: World, name: str) -> pl.DataFrame:
    return read_differences(world.settings, name).rows.filter(pl.col("customer_id") == world.customer)


def test_rules_that_cannot_judge_a_sale_are_refused_at_once(
    tmp_path: Path, my_rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [rule.code for rule in load_rules(my_rules)][-1] == "too_many"
    with pytest.raises(SettingError, match="cannot be imported"):
        load_rules("no_such_rules")
    with pytest.raises(SettingError, match="to be a tuple of"):
        load_rules("json:loads")
    for number, (text, words) in enumerate(
        [
            (
                "RULES = (Rule('x', pl.col('colour') == 'red', 'no'),)",
                "x: expected an expression over the columns",
            ),
            ("RULES = (Rule('x', pl.col('quantity') > 1, 'found {colour}'),)", "found"),
            ("RULES = (Rule('x', pl.col('quantity') > 1, 'a'),) * 2", "each code once"),
            ("RULES = 1 / 0", "division by zero"),
        ]
    ):
        module = f"bad_{number}_{my_rules}"
        (tmp_path / f"{module}.py").write_text(
            f"import polars as pl\nfrom stream_jobs.rules import Rule\n{text}\n"
        )
        with pytest.raises(SettingError, match=words):
            load_rules(module)


@pytest.mark.parametrize("name", ["", "Upper", "with.dot", "a" * 33, "-x"])
def test_a_shadow_needs_a_name_that_fits_into_a_topic(name: str) -> None:
    with pytest.raises(SettingError, match="--shadow"):
        shadow_outputs(name)


@pytest.mark.parametrize(
    "text", ["", "delivery", "delivery:x", "time:yesterday", "offset:-1", "time:2026-13-01"]
)
def test_a_start_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="--from: expected delivery:ID"):
        Start.parsed(text, "--from")
