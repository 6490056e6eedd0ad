"""What has arrived since the last manifest: found for whom it counts, and never before its predecessor."""

from pathlib import Path

import pytest

from infra.blobs import DirectoryStore
from lake.append import AppendTable
from lake.news import complete_files, customers_with_news
from lake.seal import seal
from tests.lake.frames import DAY, NOON, append, sale


def test_customers_with_news_are_those_whom_a_seal_would_serve(store: DirectoryStore) -> None:
    table = AppendTable(store, "sales_joined")
    assert customers_with_news(store) == []
    append(table, 0, [sale(), sale(customer_id="b")])
    assert customers_with_news(store) == ["acme", "b"]
    seal(store, "acme", NOON)
    assert customers_with_news(store) == ["b"]
    append(table, 0, [sale(customer_id="c")])
    assert customers_with_news(store) == ["b", "c"]
    append(
        AppendTable(store, "changes_events"),
        0,
        [
            {
                "customer_id": "acme",
                "delivery_id": 3,
                "position": 1,
                "received_at": NOON,
                "event_id": "e",
                "date": DAY,
            }
        ],
    )
    assert customers_with_news(store) == ["acme", "b", "c"]
    for customer in ("acme", "b", "c"):
        assert seal(store, customer, NOON) is not None
    assert customers_with_news(store) == []
    store.delete("seal_hints.json")
    assert customers_with_news(store) == []


@pytest.mark.parametrize(("listing", "seen"), [(1, [0, 2, 4]), (2, [0])])
def test_a_file_is_not_read_before_its_predecessor_is_seen(
    store: DirectoryStore, listing: int, seen: list[int]
) -> None:
    """One listing shows the later of two files that were written meanwhile, and not the earlier."""
    table = AppendTable(store, "sales_joined")
    append(table, 0, [sale()])

    class Racing(DirectoryStore):
        listings = 0

        def list(self, prefix: str) -> list[str]:
            self.listings += 1
            shown = super().list(prefix)
            if self.listings == listing:
                append(table, 0, [sale(sale_id="second")])
                append(table, 0, [sale(sale_id="third")])
                shown.append(super().list(prefix)[-1])
            return shown

    racing = AppendTable(Racing(Path(store.location)), "sales_joined")
    assert [file.first_offset for file in complete_files(racing)] == seen
