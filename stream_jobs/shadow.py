"""Shadow validation: other rules on the same sales, with a group and topics of their own, and where they differ.

A shadow reads `sales-input` as validate does and writes its verdicts to `sales-shadow-NAME-validated`, `-error`
and `-tallies`. Nobody else is touched; several shadows run side by side. Promotion is the setting
`HEADRACE_STREAM__RULES`.

`differences` is pure: refusals in, differences out. Guarantee: it speaks only of sales that both have judged.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from infra.errors import MissingPartError, SettingError, UnavailableError
from infra.extents import ANSWER_S_MAX, Extent, extents
from infra.kafka import admin
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import (
    CATALOGUE,
    DELIVERY_TALLIES,
    SALES_ERROR,
    SALES_INPUT,
    SALES_VALIDATED,
    Topic,
    create,
)
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.batches import Place
from stream_jobs.validate import LIVE, Outputs

READ_S_MAX = 900.0
AFTER_SESSION_S_MAX = 5.0
PREFIX = "sales-shadow-"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_AT = ["source_partition", "source_offset"]
_SHOWN = ("customer_id", "delivery_id", "sale_id", "location_id", "product_id")


def shadow_outputs(name: str) -> Outputs:
    """Group and topics of a shadow.

    Raises:
        SettingError: The name does not fit into the name of a topic.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(f"--shadow: expected at most 32 lower-case letters, digits and -, found {name!r}")
    topic = f"{PREFIX}{name}"
    return Outputs(f"shadow-{name}", f"{topic}-validated", f"{topic}-error", f"{topic}-tallies")


def make_topics(settings: Settings, outputs: Outputs) -> None:
    """Create the topics of a shadow, with as many partitions as the sales have.

    Raises:
        UnavailableError: The broker did not create a topic in time.
    """
    partitions = len(extents(settings, [SALES_INPUT]))
    topics: list[Topic] = [
        replace(CATALOGUE[original], name=name, owner=outputs.group)
        for original, name in _named(outputs).items()
    ]
    create(settings.model_copy(update={"sales_partitions": partitions}), topics)


def _named(outputs: Outputs) -> dict[str, str]:
    return {
        SALES_VALIDATED: outputs.validated,
        SALES_ERROR: outputs.refused,
        DELIVERY_TALLIES: outputs.tallies,
    }


def drop(settings: Settings, name: str) -> None:
    """Remove what a shadow has written, and its group.

    Raises:
        MissingPartError: There is no such shadow.
        UnavailableError: The brokers do not answer, or a worker of it still runs.
    """
    outputs = shadow_outputs(name)
    client = admin(settings)
    _check_exists(client, outputs, name)
    _drop_group(client, outputs.group, name, settings.stream.session_ms / 1000)
    futures = client.delete_topics(list(_named(outputs).values()), operation_timeout=ANSWER_S_MAX)
    for topic, future in futures.items():
        try:
            future.result(ANSWER_S_MAX)
        except KafkaException as error:
            raise UnavailableError(f"removing {topic}: {error.args[0].str()}") from error


def _drop_group(client: AdminClient, group: str, name: str, session_s: float) -> None:
    """Remove a group; a worker that was killed may still be a member of it for the time of its session."""
    deadline = time.monotonic() + session_s + AFTER_SESSION_S_MAX
    while True:
        try:
            client.delete_consumer_groups([group])[group].result(ANSWER_S_MAX)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.NON_EMPTY_GROUP and time.monotonic() < deadline:
                time.sleep(1.0)
                continue
            if code == KafkaError.NON_EMPTY_GROUP:
                raise UnavailableError(f"shadow {name} still runs; stop its job and try again") from error
            if code != KafkaError.GROUP_ID_NOT_FOUND:
                raise UnavailableError(f"removing group {group}: {error.args[0].str()}") from error
        return


def _check_exists(client: AdminClient, outputs: Outputs, name: str) -> None:
    topics = client.list_topics(timeout=ANSWER_S_MAX).topics
    if outputs.refused not in topics:
        refusals = sorted(topic for topic in topics if topic.startswith(PREFIX) and topic.endswith("-error"))
        known = ", ".join(topic[len(PREFIX) : -len("-error")] for topic in refusals)
        raise MissingPartError(f"there is no shadow {name!r}; there are: {known or 'none'}")


@dataclass(frozen=True, slots=True)
class Differences:
    """Where the verdicts of a shadow differ from the live ones.

    Attributes:
        messages: Messages of `sales-input` that both have judged; markers of transactions count as well.
        by_code: One row for each code: `code`, and the refusals that have it `both` times, `only_live`, `only_shadow`.
        rows: One row for each sale whose codes differ, in the order of partition and offset: its place, its ids, and
            `live` and `shadow`: the codes of each, empty where the sale is valid, with the `message` of the first.
    """

    messages: int
    by_code: pl.DataFrame
    rows: pl.DataFrame


def differences(
    live: pl.DataFrame, shadow: pl.DataFrame, judged: Mapping[int, tuple[int, int]]
) -> Differences:
    """Compare refusals.

    Args:
        live: SaleError records of the live validation.
        shadow: Those of the shadow.
        judged: By partition of `sales-input` the offsets that both have judged: from, and up to but without.
    """
    sides = {"live": _last_word(live, judged), "shadow": _last_word(shadow, judged)}
    joined = sides["live"].join(sides["shadow"], on=_AT, how="full", coalesce=True, suffix="_shadow")
    nothing = pl.lit([], dtype=pl.List(pl.String))
    rows = joined.select(
        *_AT,
        *(pl.coalesce(name, f"{name}_shadow").alias(name) for name in _SHOWN),
        pl.col("codes").fill_null(nothing).alias("live"),
        pl.col("codes_shadow").fill_null(nothing).alias("shadow"),
        pl.coalesce("messages_shadow", "messages").list.first().alias("message"),
    )
    differ = rows.filter(pl.col("live").list.sort() != pl.col("shadow").list.sort())
    return Differences(sum(end - first for first, end in judged.values()), _by_code(rows), differ.sort(_AT))


def _last_word(refusals: pl.DataFrame, judged: Mapping[int, tuple[int, int]]) -> pl.DataFrame:
    """The newest refusal of each message of the range."""
    bounds = pl.DataFrame(
        [(partition, first, end) for partition, (first, end) in judged.items()],
        schema={"source_partition": pl.Int32, "first": pl.Int64, "end": pl.Int64},
        orient="row",
    )
    own = refusals.filter(pl.col("source_topic") == SALES_INPUT).join(bounds, on="source_partition")
    own = own.filter(pl.col("source_offset") >= pl.col("first"), pl.col("source_offset") < pl.col("end"))
    return own.select(*_AT, *_SHOWN, "codes", "messages").unique(_AT, keep="last", maintain_order=True)


def _by_code(rows: pl.DataFrame) -> pl.DataFrame:
    live = rows.select(*_AT, code="live").explode("code").drop_nulls("code")
    shadow = rows.select(*_AT, code="shadow").explode("code").drop_nulls("code")
    both = live.join(shadow, on=[*_AT, "code"])
    counts = [frame.group_by("code").agg(pl.len().cast(pl.Int64)) for frame in (live, shadow, both)]
    return (
        counts[0]
        .join(counts[1], on="code", how="full", coalesce=True, suffix="_shadow")
        .join(counts[2], on="code", how="left", suffix="_both")
        .with_columns(pl.col("len", "len_shadow", "len_both").fill_null(0))
        .select(
            "code",
            both="len_both",
            only_live=pl.col("len") - pl.col("len_both"),
            only_shadow=pl.col("len_shadow") - pl.col("len_both"),
        )
        .sort("code")
    )


def read_differences(settings: Settings, name: str) -> Differences:
    """Compare what a shadow and the live validation have refused so far.

    Raises:
        MissingPartError: There is no such shadow.
        UnavailableError: The brokers do not answer.
    """
    outputs = shadow_outputs(name)
    client = admin(settings)
    _check_exists(client, outputs, name)
    registry = Registry(settings)
    try:
        held = extents(settings, [SALES_INPUT])
        done = [_committed(client, group, held) for group in (LIVE.group, outputs.group)]
        judged = {
            place[1]: (extent.first, max(extent.first, min(ends.get(place, 0) for ends in done)))
            for place, extent in held.items()
        }
        refusals = [_refusals(settings, registry, topic) for topic in (LIVE.refused, outputs.refused)]
    finally:
        registry.close()
    return differences(refusals[0], refusals[1], judged)


def _committed(client: AdminClient, group: str, held: Mapping[Place, Extent]) -> dict[Place, int]:
    asked = [ConsumerGroupTopicPartitions(group)]
    try:
        found = client.list_consumer_group_offsets(asked, request_timeout=ANSWER_S_MAX)[group].result()
    except KafkaException as error:
        raise UnavailableError(f"asking for the offsets of group {group}: {error.args[0].str()}") from error
    places = {(one.topic, one.partition): one.offset for one in found.topic_partitions}
    return {place: offset for place, offset in places.items() if place in held and offset >= 0}


def _refusals(settings: Settings, registry: Registry, topic: str) -> pl.DataFrame:
    codec = Codec(SALES_ERROR, registry)
    starts = {place: extent.first for place, extent in extents(settings, [topic]).items()}
    reader = TopicReader(settings, [topic], "shadow-diff", starts)
    frames: list[pl.DataFrame] = [codec.empty]
    try:
        frames += [
            codec.decode([message.value() for message in messages]).frame
            for messages in reader.read_to_end(READ_S_MAX)
        ]
    finally:
        reader.close()
    return pl.concat(frames).drop("original")
