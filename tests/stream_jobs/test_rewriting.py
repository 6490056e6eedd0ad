"""The lake's table written anew beside the old one, from the stream."""

from infra.blobs import open_dataset, open_store
from infra.extents import extents
from infra.settings import Settings
from lake.datasets import Cut, begin
from lake.verify import verify
from stream_jobs.join import run_join
from stream_jobs.master_reader import MasterReader
from stream_jobs.starting import Start, start_offsets
from stream_jobs.validate import run_validate
from tests.running import running_job, wait_until
from tests.stream_jobs.lake_rows import rows
from tests.stream_jobs.world import World


def in_dataset(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"dataset": name})


def joined(world: World, settings: Settings) -> list[tuple[object, ...]]:
    found = rows(settings, "sales_joined", world.customer)
    return sorted(found.rows(), key=str)


def test_a_dataset_has_every_sale_once_while_the_old_table_grows_on(world: World) -> None:
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    settings = world.with_stream(flush_s_max=0.2, flush_rows_max=40)
    store = open_store(settings)
    with running_job(lambda stop: run_validate(settings, store, stop)):
        with running_job(lambda stop: run_join(settings, store, stop)):
            world.deliver_sales(100)
            wait_until(lambda: len(joined(world, settings)) == 200, "the first sales")
            second = world.deliver_sales(100)
            wait_until(lambda: len(joined(world, settings)) == 400, "the second sales")
            reader = MasterReader(settings, world.registry, store, "test")
            reader.catch_up()
            held = extents(settings, ["sales-validated"])
            starts = start_offsets(settings, "sales-validated", Start(delivery_id=second), reader.log)
            reader.close()
            cuts = {place[1]: Cut(start, held[place].first) for place, start in starts.items()}
            begin(store, f"next-{world.customer}", cuts)
            beside = in_dataset(settings, f"next-{world.customer}")
            with running_job(lambda stop: run_join(beside, open_dataset(beside), stop)):
                world.deliver_sales(50)
                wait_until(lambda: len(joined(world, settings)) == 500, "the old table")
                wait_until(lambda: len(joined(world, beside)) == 500, "the new table")
    assert joined(world, settings) == joined(world, beside)
    assert verify(open_dataset(beside)) == []
