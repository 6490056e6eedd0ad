"""The whole way of the lake over S3's protocol."""

import datetime as dt
import random

import pytest

from infra.blobs import open_store
from infra.errors import AlreadyExistsError
from lake.append import AppendTable
from lake.forecasts import current, forecast_frame, publish
from lake.news import customers_with_news
from lake.read import Lake
from lake.seal import seal
from lake.verify import verify
from tests.lake.frames import DAY, NOON, append, rows, sale, void
from tests.lake.oracle import sealed
from tests.lake.test_forecasts import RUN, frame
from tests.s3 import S3Server


def test_append_seal_read_publish_and_verify_work_on_s3(s3_server: S3Server) -> None:
    dice = random.Random(7)
    store = open_store(s3_server.settings())
    table = AppendTable(store, "sales_joined")
    lines = []
    for flush in range(4):
        flushed = [
            sale(
                sale_id=f"s{dice.randrange(12)}",
                delivery_id=flush,
                position=number,
                sold_on=DAY + dt.timedelta(days=dice.randrange(3)),
            )
            for number in range(8)
        ]
        flushed.append(void(sale_id=f"s{flush}", delivery_id=flush, position=99))
        append(table, flush % 2, flushed)
        lines += flushed
        if flush % 2:
            assert customers_with_news(store) == ["acme"]
            assert seal(store, "acme", NOON) is not None
    assert customers_with_news(store) == []
    with pytest.raises(AlreadyExistsError):
        table.append(0, 0, 9, NOON, rows("sales_joined", [sale()]), None)
    found = Lake(store).sales("acme").polars()
    assert sorted(found["sale_id"]) == sorted(sealed(lines))
    assert set(Lake(store).sales("acme", as_of=1).polars()["sale_id"]) == set(sealed(lines[:18]))
    publish(store, RUN, frame(RUN))
    assert current(store, "acme") == RUN
    assert len(forecast_frame(store, RUN)) == 2
    assert verify(store) == []
