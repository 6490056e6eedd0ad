"""What a seed decides."""

from collections import Counter

from tests.faults.plan import KAFKA, MINIO, other_kinds, plan

JOBS = ("ingest-sales", "ingest-master", "validate", "join", "sink", "report", "window")


def test_a_seed_makes_the_same_faults_again() -> None:
    assert list(plan(7, 30, JOBS)) == list(plan(7, 30, JOBS))
    assert list(plan(7, 30, JOBS)) != list(plan(8, 30, JOBS))
    assert list(plan(7, 60, JOBS))[:30] == list(plan(7, 30, JOBS))


def test_a_whole_run_has_two_hundred_kills_and_every_kind_of_fault() -> None:
    faults = [fault for some in plan(1, 100, JOBS) for fault in some]
    kinds = Counter(fault.kind for fault in faults)
    assert kinds["kill"] == 200
    assert min(kinds[kind.name] for kind in other_kinds(JOBS)) >= 3
    assert {fault.target for fault in faults if fault.kind == "kill"} == {*JOBS, "registry", KAFKA, MINIO}


def test_what_a_machine_cannot_do_is_left_out_and_nothing_else_changes() -> None:
    left = [[fault for fault in some if fault.kind != "disk_full"] for some in plan(7, 60, JOBS)]
    assert list(plan(7, 60, JOBS, ["disk_full"])) == left
