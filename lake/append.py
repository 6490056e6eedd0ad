"""Tables that grow by one object for each flush, and never otherwise.

Guarantee: the rows of a source partition lie in a chain of files, each named by the first offset in it, and
the write of a file is its commit. Of two writers that both believe they own a partition the second gets
`AlreadyExistsError`, because both must give the next file of the chain the same name. Whoever lists the
folder with another program sees committed rows only, each once.

The chain stays one only if every writer first asks for the chain's end, goes on from there, and lets the name
follow from the records alone: the same first record, the same name.
"""

import datetime as dt
import json
import re
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, FaultError
from lake.parquet import notes_of, parquet_bytes, read_metadata
from schemas.lake_tables import LAKE_TABLES, RAW_TABLES, LakeTable, check_frame

_NAME = re.compile(r"^p(\d{4,})-(\d{20})\.parquet$")
_DAY_FOLDER = "arrived_on="


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Where the chain of a partition ends.

    Attributes:
        next_offset: First offset that is not yet in the chain: where to go on reading.
        arrived_on: Day folder of the chain's last file.
    """

    next_offset: int
    arrived_on: dt.date


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file of a chain, as its name tells.

    Attributes:
        path: Path in the store.
        partition: Partition of the source topic.
        first_offset: Offset of the first record in it.
        arrived_on: Its day folder.
    """

    path: str
    partition: int
    first_offset: int
    arrived_on: dt.date


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file of a chain says of itself.

    Attributes:
        table: Name of its table.
        first_offset: Offset of the first record in it.
        next_offset: Where to go on reading after it.
        rows: Number of its rows.
        customers: The customers that have rows in it.
        follows: Where the chain ended when it was written, 0 for the first; None in files of older versions.
    """

    table: str
    first_offset: int
    next_offset: int
    rows: int
    customers: frozenset[str]
    follows: int | None


@dataclass(frozen=True)
class AppendTable:
    """One append-once table.

    Args:
        store: The blob store.
        name: Name of the table; one of `schemas.lake_tables.RAW_TABLES`.
    """

    store: BlobStore
    name: str

    def __post_init__(self) -> None:
        if self.name not in RAW_TABLES:
            raise FaultError(
                f"append-once table: expected one of {', '.join(RAW_TABLES)}, found {self.name!r}"
            )

    @cached_property
    def table(self) -> LakeTable:
        """Columns and order of the table."""
        return LAKE_TABLES[self.name]

    def chain_end(self, partition: int) -> ChainEnd | None:
        """Where to go on with a partition; None when nothing of it was ever written.

        Lists the day folders, newest first, until one holds a file of the partition, and reads that file's
        footer.

        Raises:
            CorruptLakeError: The newest file is not what its name says.
        """
        for day in reversed(self.days()):
            files = [file for file in self._files_of(day) if file.partition == partition]
            if files:
                newest = max(files, key=lambda file: file.first_offset)
                return ChainEnd(self.footer(newest).next_offset, newest.arrived_on)
        return None

    def append(
        self,
        partition: int,
        first_offset: int,
        next_offset: int,
        first_timestamp: dt.datetime,
        frame: pl.DataFrame,
        previous: ChainEnd | None,
    ) -> ChainEnd:
        """Write the next file of a partition's chain: one object, one commit.

        Args:
            partition: Partition of the source topic.
            first_offset: Offset of the first record of the flush.
            next_offset: Where to go on reading after the flush; beyond every record in it.
            first_timestamp: Kafka timestamp of the first record, UTC; decides on the day folder.
            frame: The rows, with the columns of the table; at least one.
            previous: The chain's end as this writer knows it: what `chain_end` or its last `append` returned.

        Returns:
            The chain's new end.

        Raises:
            AlreadyExistsError: Another writer has written this file; stop and ask for the chain's end again.
            FaultError: The rows do not fit the table, or the offsets do not follow the chain.
        """
        if first_timestamp.tzinfo is None:
            raise FaultError(
                f"{self.name}: expected a first timestamp with its time zone, found {first_timestamp}"
            )
        begin = previous.next_offset if previous else 0
        if not begin <= first_offset < next_offset or partition < 0:
            raise FaultError(
                f"{self.name}, partition {partition}: expected {begin} <= first offset < next offset, "
                f"found {first_offset} and {next_offset}"
            )
        if frame.is_empty():
            raise FaultError(f"{self.name}, partition {partition}: expected rows to append, found none")
        arrived_on = first_timestamp.astimezone(dt.UTC).date()
        # The newest day with a file of the partition must hold the chain's end, whatever the clocks say.
        arrived_on = max(arrived_on, previous.arrived_on) if previous else arrived_on
        data = self.file_bytes(frame, first_offset, next_offset, begin)
        self.store.put_if_absent(self.path(partition, first_offset, arrived_on), data)
        return ChainEnd(next_offset, arrived_on)

    def file_bytes(
        self, frame: pl.DataFrame, first_offset: int, next_offset: int, follows: int | None
    ) -> bytes:
        """A file of a chain.

        Args:
            frame: The rows, with the columns of the table.
            first_offset: Offset of the first record in it.
            next_offset: Where to go on reading after it.
            follows: See `Footer`.

        Raises:
            FaultError: The rows do not fit the table.
        """
        rows = check_frame(frame, self.table)
        notes = {
            "first_offset": str(first_offset),
            "next_offset": str(next_offset),
            **({} if follows is None else {"follows": str(follows)}),
            "customers": json.dumps(sorted(rows["customer_id"].drop_nulls().unique().to_list())),
        }
        return parquet_bytes(rows, self.table, notes)

    def path(self, partition: int, first_offset: int, arrived_on: dt.date) -> str:
        """Path of the file of a partition that begins at an offset."""
        return f"{self.name}/{_DAY_FOLDER}{arrived_on}/p{partition:04d}-{first_offset:020d}.parquet"

    def days(self) -> list[dt.date]:
        """The days that have a folder, in order.

        Raises:
            CorruptLakeError: A folder is named otherwise.
        """
        return [self._day(name) for name in self.store.folders(self.name)]

    def files(self, start_day: dt.date | None = None) -> list[RawFile]:
        """All files of the table, by partition and first offset.

        Args:
            start_day: First day folder to be listed; None lists all.

        Raises:
            CorruptLakeError: A file is named otherwise.
        """
        if start_day is None:
            found = [self._raw_file(path) for path in self.store.list(self.name)]
        else:
            found = [file for day in self.days() if day >= start_day for file in self._files_of(day)]
        return sorted(found, key=lambda file: (file.partition, file.first_offset))

    def footer(self, file: RawFile) -> Footer:
        """What a file says of itself.

        Raises:
            CorruptLakeError: It contradicts its name.
        """
        metadata = read_metadata(self.store, file.path)
        notes = notes_of(metadata)
        try:
            footer = Footer(
                notes["table"],
                int(notes["first_offset"]),
                int(notes["next_offset"]),
                metadata.num_rows,
                frozenset(json.loads(notes["customers"])),
                int(notes["follows"]) if "follows" in notes else None,
            )
        except (KeyError, ValueError) as error:
            raise CorruptLakeError(
                f"{file.path}: expected the notes of an append-once file, found {notes}"
            ) from error
        if (footer.table, footer.first_offset) != (self.name, file.first_offset):
            raise CorruptLakeError(
                f"{file.path}: expected rows of {self.name} from offset {file.first_offset}, "
                f"found {footer.table} from {footer.first_offset}"
            )
        return footer

    def _files_of(self, day: dt.date) -> list[RawFile]:
        return [self._raw_file(path) for path in self.store.list(f"{self.name}/{_DAY_FOLDER}{day}")]

    def _raw_file(self, path: str) -> RawFile:
        folder, _, name = path.removeprefix(f"{self.name}/").partition("/")
        match = _NAME.match(name)
        if match is None:
            raise CorruptLakeError(
                f"{path}: expected arrived_on=DAY/pPARTITION-OFFSET.parquet; remove what is not of the lake"
            )
        return RawFile(path, int(match[1]), int(match[2]), self._day(folder))

    def _day(self, folder: str) -> dt.date:
        try:
            if folder.startswith(_DAY_FOLDER):
                return dt.date.fromisoformat(folder.removeprefix(_DAY_FOLDER))
        except ValueError:
            pass
        raise CorruptLakeError(f"{self.name}/{folder}: expected a folder arrived_on=YYYY-MM-DD; remove it")
