"""Which faults there are, and which come when: it all follows from the seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

REGISTRY, KAFKA, MINIO = "registry", "Kafka", "MinIO"
KILLS_A_ROUND = 2
SERVER_EVERY = 12
"""Each so-manieth kill is a server's."""
OTHER_EVERY = 2
"""In each so-manieth round something else goes wrong, too."""
GROUPS = ("validate", "join", "sink", "window")
"""Jobs of which several workers share the partitions."""
COMMITTING = ("validate", "ingest-sales", "ingest-master", "report", "window")
"""Jobs that write in Kafka transactions of their own name."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: What it is called in the result.
        targets: What it may happen to; one of them is drawn.
        least_s: Shortest time that it lasts.
        most_s: Longest.
        amounts: How much of it; one is drawn.
    """

    name: str
    targets: tuple[str, ...]
    least_s: float = 0.0
    most_s: float = 0.0
    amounts: tuple[float, ...] = (0.0,)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a run.

    Attributes:
        kind: Name of its kind.
        target: What it happens to.
        after_s: Time from the end of the one before it.
        for_s: How long it lasts.
        amount: How much of it, where the kind has such a measure.
    """

    kind: str
    target: str
    after_s: float
    for_s: float
    amount: float


def other_kinds(jobs: Sequence[str]) -> tuple[Kind, ...]:
    """All kinds that are no plain `kill -9`, for an installation with these jobs."""
    every = tuple(jobs)
    return (
        Kind("taken_over", GROUPS, 18.0, 20.0),
        Kind("namesake", every, 1.0, 3.0),
        Kind("cut", (KAFKA, MINIO), 1.0, 4.0),
        Kind("silent", (KAFKA, MINIO), 3.0, 10.0),
        Kind("disk_full", (KAFKA, MINIO), 3.0, 6.0),
        Kind("s3_refuses", (MINIO,), 2.0, 8.0, (500, 503)),
        Kind("s3_slow", (MINIO,), 4.0, 8.0, (0.5, 2.0)),
        Kind("s3_answers_lost", (MINIO,), 2.0, 4.0, (1, 3, 9)),
        Kind("registry_away", (REGISTRY,), 4.0, 12.0),
        Kind("clock_step", every, 4.0, 8.0, (-93_600, -600, 600, 93_600)),
        Kind("commit_cut", COMMITTING, 0.3, 1.0, (0, 1)),
        Kind("commit_killed", COMMITTING, 0.3, 1.0, (0, 1)),
        Kind("commit_unknown", ("validate", "ingest-sales", "report", "window"), 34.0, 34.0, (0, 1)),
    )


def plan(seed: int, rounds: int, jobs: Sequence[str], left_out: Sequence[str] = ()) -> Iterator[list[Fault]]:
    """The faults of each round.

    Args:
        seed: Of all that is drawn.
        rounds: Number of rounds.
        jobs: Names of the jobs.
        left_out: Kinds that cannot be had on this machine; all else is as it would be with them.
    """
    dice = random.Random(seed)
    kills = 0
    waiting: list[Kind] = []
    for number in range(rounds):
        faults = []
        for _ in range(KILLS_A_ROUND):
            kills += 1
            target = dice.choice((*jobs, REGISTRY))
            if kills % SERVER_EVERY == 0:
                target = (KAFKA, MINIO)[kills // SERVER_EVERY % 2]
            faults.append(Fault("kill", target, dice.uniform(0.0, 1.5), dice.uniform(0.5, 3.0), 0.0))
        if number % OTHER_EVERY == 0:
            if not waiting:
                waiting = list(other_kinds(jobs))
                dice.shuffle(waiting)
            faults.insert(dice.randrange(KILLS_A_ROUND + 1), drawn(waiting.pop(), dice))
        yield [fault for fault in faults if fault.kind not in left_out]


def drawn(kind: Kind, dice: random.Random) -> Fault:
    """One fault of a kind."""
    return Fault(
        kind.name,
        dice.choice(kind.targets),
        dice.uniform(0.0, 1.5),
        dice.uniform(kind.least_s, kind.most_s),
        dice.choice(kind.amounts),
    )
