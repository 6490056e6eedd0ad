"""The ends of topics, asked of brokers that do not know yet who leads a partition."""

import pytest
from confluent_kafka import KafkaError, TopicPartition

from infra.errors import UnavailableError
from infra.extents import end_offsets
from infra.kafka import admin
from infra.settings import load_settings
from tests.mock_cluster import LIST_OFFSETS, mock_cluster

TOPIC = "sales"
PLACES = [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)]


def test_a_partition_whose_leader_is_being_found_is_asked_again() -> None:
    with mock_cluster() as cluster:
        cluster.new_topic(TOPIC, partitions=2)
        client = admin(load_settings(broker=cluster.servers))
        cluster.answer(LIST_OFFSETS, *[KafkaError.NOT_LEADER_FOR_PARTITION] * 3)
        assert end_offsets(client, PLACES) == {(TOPIC, 0): 0, (TOPIC, 1): 0}


def test_a_partition_that_stays_without_a_leader_is_told() -> None:
    with mock_cluster() as cluster:
        cluster.new_topic(TOPIC, partitions=2)
        client = admin(load_settings(broker=cluster.servers))
        cluster.answer(LIST_OFFSETS, *[KafkaError.LEADER_NOT_AVAILABLE] * 1000)
        with pytest.raises(UnavailableError, match=r"offsets of sales \[0\].*[Ll]eader not available"):
            end_offsets(client, PLACES, wait_s_max=0.5)


def test_what_is_not_mended_by_waiting_is_told_at_once() -> None:
    with mock_cluster() as cluster:
        cluster.new_topic(TOPIC, partitions=2)
        client = admin(load_settings(broker=cluster.servers))
        cluster.answer(LIST_OFFSETS, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        with pytest.raises(UnavailableError, match=r"offsets of sales \[0\].*authorization"):
            end_offsets(client, PLACES)
