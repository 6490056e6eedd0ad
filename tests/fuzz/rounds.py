"""One round: a file of each format and some messages, damaged, read, and the good records counted.

Guarantee: what a round does follows from the seed and its number alone.
"""

import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from infra.errors import DeliveryError
from schemas.codec import Codec, Decoded
from schemas.examples import EXAMPLES
from tests.fuzz.mutations import damaged
from tests.stream_jobs.ingest.files import csv_file, json_file, parquet_file, read, sale, xml_file

GOOD = 6
"""Good records of a file, half of them before the damaged one."""
MESSAGES = 96
"""Damaged messages of a round."""
INPUTS = MESSAGES + 4
"""Damaged files and messages of a round."""
COLUMNS = ("sale_id", "location_id", "product_id", "sold_at", "quantity", "unit_price")

Read = Callable[[bytes, str], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that must not be.

    Attributes:
        kind: escaped (an error that is not the customer's), lost (a good record), or ended (the process).
        target: csv, jsonl, xml, parquet or wire.
        text: What was seen.
        data: The input.
    """

    kind: str
    target: str
    text: str
    data: bytes


_ROWS = [sale(number) for number in range(GOOD)]
_FILES = {
    "csv": csv_file(_ROWS),
    "jsonl": json_file(_ROWS),
    "xml": xml_file(_ROWS),
    "parquet": parquet_file(pl.DataFrame(_ROWS)),
}
_EXPECTED = read(_FILES["csv"], "csv").select(COLUMNS)


def one_round(seed: int, number: int, codec: Codec, reader: Read = read) -> Iterator[Failure]:
    """Do one round.

    Args:
        seed: Of the whole run.
        number: Of the round.
        codec: Decodes the messages.
        reader: Reads the files.
    """
    dice = random.Random(f"{seed}-{number}")
    for file_format in ("csv", "jsonl", "xml", "parquet"):
        data, kept = damaged_file(file_format, dice)
        yield from file_failures(file_format, data, kept, reader)
    yield from wire_failures(codec, dice)


def damaged_file(file_format: str, dice: random.Random) -> tuple[bytes, int]:
    """A file with damage in its middle, and how many good records must be in what is read of it at least."""
    whole = _FILES[file_format]
    if file_format == "parquet" or dice.random() < 0.25:
        return damaged(whole, dice, list(_FILES.values())), 0
    lines = whole.splitlines(keepends=True)
    middle = len(lines) // 2
    line = damaged(lines[middle].rstrip(b"\n"), dice, lines)
    # A quote may take the lines after it in, and what comes after broken XML is no record any more.
    goes_on = file_format == "jsonl" or (file_format == "csv" and b'"' not in line)
    kept = GOOD - 1 if goes_on else 0
    return b"".join([*lines[:middle], line, b"\n", *lines[middle + 1 :]]), kept


def file_failures(file_format: str, data: bytes, kept: int, reader: Read = read) -> Iterator[Failure]:
    """What went wrong when a damaged file was read.

    Args:
        file_format: csv, jsonl, xml or parquet.
        data: The file.
        kept: How many of the good records must have come out.
        reader: Reads it.
    """
    try:
        found = reader(data, file_format)
    except DeliveryError as error:
        if kept:
            yield Failure("lost", file_format, f"the whole file was refused: {error}", data)
        return
    except Exception:
        yield Failure("escaped", file_format, traceback.format_exc(), data)
        return
    good = found.filter(pl.col("defect").is_null()).select(COLUMNS) if found.height else _EXPECTED.clear()
    there = _EXPECTED.join(good, on=COLUMNS, how="semi", nulls_equal=True).height
    if there < kept:
        yield Failure("lost", file_format, f"expected {kept} of {GOOD} good records, found {there}", data)


def wire_failures(codec: Codec, dice: random.Random) -> Iterator[Failure]:
    """What went wrong when good and damaged messages were decoded together."""
    good = [codec.encode_record(dict(record)) for record in EXAMPLES["Sale"]]
    values: list[bytes] = []
    places = []
    for _ in range(MESSAGES):
        if dice.random() < 0.2:
            places.append(len(values))
            values.append(good[len(places) % len(good)])
        message = dice.choice(good)
        # The head says by which schema: one that nobody knows is asked for, so it is seldom damaged.
        head = 0 if dice.random() < 0.02 else 5
        values.append(message[:head] + damaged(message[head:], dice, good))
    yield from message_failures(codec, values, places)


def message_failures(codec: Codec, values: Sequence[bytes], places: Sequence[int]) -> Iterator[Failure]:
    """What went wrong when these were decoded; at `places` they are good."""
    try:
        decoded = codec.decode(values)
        alone = codec.decode([values[place] for place in places])
    except Exception:
        yield Failure(
            "escaped", "wire", traceback.format_exc(), b"\n".join(value.hex().encode() for value in values)
        )
        return
    yield from _lost_messages(decoded, alone, values, places)


def _lost_messages(
    decoded: Decoded, alone: Decoded, values: Sequence[bytes], places: Sequence[int]
) -> Iterator[Failure]:
    at = {int(row): number for number, row in enumerate(decoded.rows)}
    missing = [place for place in places if place not in at]
    untold = [place for place in range(len(values)) if place not in at and place not in decoded.bad]
    if missing or untold:
        text = f"good ones missing: {missing}; neither decoded nor reported: {untold}"
        yield Failure("lost", "wire", text, b"\n".join(value.hex().encode() for value in values))
    elif places and not decoded.frame[[at[place] for place in places]].equals(alone.frame):
        yield Failure("lost", "wire", "a good message was decoded otherwise beside bad ones", b"")
