"""librdkafka's mock cluster, for the errors of Kafka's protocol that a real broker seldom gives.

The library that the client brings with it is loaded once more, and the cluster lives in a handle of its own:
clients reach it over TCP as they reach any other.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka

(
    PRODUCE,
    LIST_OFFSETS,
    FIND_COORDINATOR,
    END_TXN,
    INIT_PRODUCER_ID,
    ADD_PARTITIONS,
    ADD_OFFSETS,
    TXN_OFFSET_COMMIT,
) = (
    0,
    2,
    10,
    26,
    22,
    24,
    25,
    28,
)
"""Kafka's numbers of requests."""
_PRODUCER = 0
_WORDS_BYTES = 512


class MockCluster:
    """Brokers whose next answers can be chosen."""

    def __init__(self, library: ctypes.CDLL, client: ctypes.c_void_p) -> None:
        self._library = library
        library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, 1))
        assert self._cluster

    @property
    def servers(self) -> str:
        """Its bootstrap servers."""
        found: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return found.decode()

    def new_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic."""
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0

    def answer(self, request: int, *errors: int) -> None:
        """Answer the next requests of a kind with these errors, one after the other."""
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster,
            ctypes.c_int16(request),
            ctypes.c_size_t(len(errors)),
            (ctypes.c_int * len(errors))(*errors),
        )

    def delay(self, delay_ms: int) -> None:
        """Answer everything so much later."""
        assert self._library.rd_kafka_mock_broker_set_rtt(self._cluster, 1, delay_ms) == 0

    def close(self) -> None:
        """End it."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)


@contextmanager
def mock_cluster() -> Iterator[MockCluster]:
    """A mock cluster of one broker."""
    (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_new.restype = library.rd_kafka_conf_new.restype = ctypes.c_void_p
    words = ctypes.create_string_buffer(_WORDS_BYTES)
    config = ctypes.c_void_p(library.rd_kafka_conf_new())
    # It would warn that it has no brokers.
    library.rd_kafka_conf_set(config, b"log_level", b"0", words, _WORDS_BYTES)
    client = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, config, words, _WORDS_BYTES))
    assert client, words.value.decode()
    cluster = MockCluster(library, client)
    try:
        yield cluster
    finally:
        cluster.close()
        library.rd_kafka_destroy(client)
