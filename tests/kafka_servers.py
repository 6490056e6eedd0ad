"""Apache Kafka behind TLS and a password, and clusters of several nodes."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from infra.kafka import broker_answers
from infra.servers.apache_kafka import KafkaNode, cluster_nodes, kafka_command, kafka_jars
from infra.settings import Settings, load_settings
from tests.certificates import Authority
from tests.running import Program, Server, free_port, running_server, wait_until

USER, PASSWORD = "headrace", "hidden-from-the-logs"


@contextmanager
def running_secured_kafka(folder: Path, authority: Authority) -> Iterator[Settings]:
    """Settings of a Kafka that lets nobody in without TLS and a password (SASL_SSL, SCRAM-SHA-512)."""
    (open_node,) = cluster_nodes(folder, [(free_port(), free_port())])
    node = _secured(open_node, folder, authority)
    settings = load_settings(
        broker=f"127.0.0.1:{node.port}",
        kafka={
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(authority.file),
        },
    )
    command = kafka_command(kafka_jars(settings.cache), node)
    program = Program(command, settings.broker, folder / "kafka.log")
    with running_server(program, lambda: broker_answers(settings)):
        yield settings


def _secured(node: KafkaNode, folder: Path, authority: Authority) -> KafkaNode:
    """The node for clients that speak TLS and show a password, as nodes do to each other."""
    files = authority.server(folder / "certificates")
    keys = folder / "node.pem"
    keys.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    security = {
        "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLERS:PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.clients.scram-sha-512.sasl.jaas.config": (
            f'{login} username="{USER}" password="{PASSWORD}";'
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keys),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
    }
    return dataclasses.replace(node, security=security, users={USER: PASSWORD})


@contextmanager
def running_cluster(folder: Path, count: int) -> Iterator[dict[int, Server]]:
    """The nodes of a cluster by Kafka's number; each may be killed and started again."""
    nodes = cluster_nodes(folder, [(free_port(), free_port()) for _ in range(count)])
    jars = kafka_jars(load_settings().cache)
    with ExitStack() as stack:
        servers = {}
        for node in nodes:
            command = kafka_command(jars, node)
            program = Program(command, f"127.0.0.1:{node.port}", folder / f"{node.number}.log")
            servers[node.number] = Server(program)
            stack.callback(servers[node.number].kill)
        for server in servers.values():
            wait_until(partial(broker_answers, load_settings(broker=server.url)), f"answer of {server.url}")
        yield servers
