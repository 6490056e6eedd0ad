"""The fuzzing itself: what it found once stays mended, and what it looks for it finds."""

import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas.catalogue import SALES_INPUT
from schemas.codec import Codec, Decoded
from schemas.registry import Registry
from tests.fuzz.__main__ import CORPUS, followed
from tests.fuzz.rounds import file_failures, message_failures, one_round, wire_failures
from tests.schemas.running import running_registry
from tests.stream_jobs.ingest.files import csv_file, read, sale


@pytest.fixture(scope="module")
def registry(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(broker, tmp_path_factory.mktemp("fuzz")) as settings:
        client = Registry(settings)
        yield client
        client.close()


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_an_input_of_the_corpus_escapes_no_reader(path: Path, registry: Registry) -> None:
    target = path.suffix.removeprefix(".")
    if target == "wire":
        values = [bytes.fromhex(line) for line in path.read_text().splitlines()]
        assert list(message_failures(Codec(SALES_INPUT, registry), values, [])) == []
    else:
        assert list(file_failures(target, path.read_bytes(), kept=0)) == []


def test_some_rounds_find_nothing(registry: Registry) -> None:
    codec = Codec(SALES_INPUT, registry)
    assert [failure for number in range(8) for failure in one_round(2, number, codec)] == []


def test_a_reader_that_loses_a_record_or_lets_an_error_through_is_found() -> None:
    def loses_one(data: bytes, file_format: str) -> pl.DataFrame:
        return read(data, file_format)[1:]

    def breaks(data: bytes, file_format: str) -> pl.DataFrame:
        raise ValueError("of a library")

    data = csv_file([sale(number) for number in range(6)])
    assert list(file_failures("csv", data, kept=6)) == []
    assert [failure.kind for failure in file_failures("csv", data, 6, loses_one)] == ["lost"]
    assert [failure.kind for failure in file_failures("csv", data, 0, breaks)] == ["escaped"]


class _Forgetful(Codec):
    """Forgets its first message."""

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        found = super().decode(values)
        return Decoded(found.frame[1:], np.asarray(found.rows)[1:], found.bad)


def test_a_decoder_that_forgets_a_message_is_found(registry: Registry) -> None:
    kinds = {failure.kind for failure in wire_failures(_Forgetful(SALES_INPUT, registry), random.Random(1))}
    assert kinds == {"lost"}


@pytest.mark.parametrize("end", ["os.abort()", "time.sleep(60)"])
def test_a_process_that_ends_or_hangs_is_told_with_its_round(end: str) -> None:
    counts: Counter[str] = Counter()
    command = [sys.executable, "-c", f"import os, time; print(3, flush=True); {end}"]
    assert followed(command, {}, 0, counts, quiet_s_max=3.0) == 3
    assert counts == {"ended": 1}
    assert followed([sys.executable, "-c", "print(3)"], {}, 0, counts) is None
