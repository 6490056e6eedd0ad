"""The checker sees what it is there to see."""

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.checker import Found, check
from tests.faults.traffic import File
from tests.running import running_broker
from tests.s3 import S3Server
from tests.schemas.running import running_registry
from tests.stream_jobs.world import NOON, World, sales_frame


@pytest.fixture
def world(tmp_path: Path, home: Path) -> Iterator[World]:
    """An installation whose topics the test alone writes to."""
    with running_broker(tmp_path) as servers, running_registry(servers, home) as settings:
        world = World(settings, "acme")
        yield world
        world.close()


def report(delivery_id: int, records: int, valid: int, state: str = "done") -> dict[str, object]:
    return {
        "delivery_id": delivery_id, "customer_id": "acme", "content": "sales", "format": "csv", "name": "sales.csv",
        "size_bytes": 1, "state": state, "records": records, "valid": valid, "invalid": records - valid,
        "by_code": {"negative_quantity": 1} if valid < records else {}, "reason": None,
        "accepted_at": NOON, "updated_at": NOON, "done_at": NOON,
    }  # fmt: skip


def test_each_kind_of_wrong_is_counted(world: World, s3_server: S3Server) -> None:
    lake = s3_server.settings()
    settings = world.settings.model_copy(update={"lake": lake.lake, "s3": lake.s3})
    five, two, none = (
        File(Path(), "sales", count, codes)
        for count, codes in ((5, {5: "negative_quantity"}), (2, {}), (0, {}))
    )
    delivered = {1: five, 2: two, 3: none}

    def validated(delivery_id: int, positions: list[int]) -> None:
        frame = sales_frame("acme", delivery_id, len(positions)).with_columns(
            pl.Series("position", positions)
        )
        world.send(
            "sales-validated", 0, world.codecs["sales-validated"].encode(frame), ["acme/L1"] * len(positions)
        )

    def joined(name: str, rows: list[tuple[int, int]]) -> None:
        data = io.BytesIO()
        pq.write_table(
            pa.table({"delivery_id": [row[0] for row in rows], "position": [row[1] for row in rows]}), data
        )
        s3_server.files().pipe_file(
            f"{lake.lake.removeprefix('s3://')}/sales_joined/{name}.parquet", data.getvalue()
        )

    # Of the five, the second is judged twice, the third never, and the fifth is taken for a good one.
    validated(1, [1, 2, 2, 4, 5])
    validated(2, [1, 2])
    # In the lake the first is twice, the second and the third are missing, and the fifth must not be.
    joined("a", [(1, 1), (1, 1), (1, 4), (1, 5)])
    joined("b", [(2, 1), (2, 2)])
    reports = [report(1, 5, 4), report(2, 2, 2), report(3, 0, 0, "judging")]
    codec = world.codecs["delivery-reports"]
    world.send("delivery-reports", 0, [codec.encode_record(one) for one in reports], ["k"] * len(reports))
    assert check(settings, s3_server, delivered) == Found(lost=3, duplicated=2, misjudged=2, misreported=1)
