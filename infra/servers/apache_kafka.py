"""Apache Kafka in KRaft mode, its jars from Maven Central, on the machine's JDK.

Each node is broker and controller. A node's folder holds its properties and its log; a node that is started again
on its folder goes on from there, whatever ended it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.servers.installing import installed, program, run

VERSION = "4.2.2"
POM = Path(__file__).parent / "pom.xml"
CLUSTER_ID = "aGVhZHJhY2UtY2x1c3RlcnM"
HEAP = "512m"


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """One of the nodes of a cluster on this machine.

    Attributes:
        number: From 1.
        folder: Where it keeps everything.
        port: Port that clients reach it on.
        controllers: Port on which each node's controller listens, by number.
        security: Further properties, such as those of TLS; `listeners` of clients are named CLIENTS.
        users: Password of each user, stored for SCRAM-SHA-512 when the folder is formatted.
    """

    number: int
    folder: Path
    port: int
    controllers: Mapping[int, int]
    security: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)

    def properties(self) -> dict[str, str]:
        """Kafka's properties of this node."""
        replicas = min(3, len(self.controllers))
        controller = self.controllers[self.number]
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.number),
            "controller.quorum.voters": ",".join(
                f"{number}@127.0.0.1:{port}" for number, port in self.controllers.items()
            ),
            "listeners": f"CLIENTS://127.0.0.1:{self.port},CONTROLLERS://127.0.0.1:{controller}",
            "advertised.listeners": f"CLIENTS://127.0.0.1:{self.port}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLERS:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "controller.listener.names": "CONTROLLERS",
            "log.dirs": str(self.folder / "log"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": str(replicas),
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(max(1, replicas - 1)),
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": str(max(1, replicas - 1)),
            **self.security,
        }


def kafka_jars(cache: Path) -> Path:
    """The folder of Kafka's jars, installed on first use (about 90 MB).

    Raises:
        MissingPartError: There is no Maven, or it cannot get them.
    """

    def install(folder: Path) -> None:
        maven = program("mvn", "to get Kafka's jars from Maven Central (Debian: apt install maven)")
        run(
            [
                maven,
                "-q",
                "-B",
                "-f",
                str(POM),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={folder}",
                "-DincludeScope=runtime",
            ]
        )

    return installed(cache / f"kafka-{VERSION}", install)


def kafka_command(jars: Path, node: KafkaNode) -> list[str]:
    """The command that runs a node in the foreground; its folder is formatted on first use.

    Raises:
        MissingPartError: There is no Java, or the folder cannot be formatted.
    """
    node.folder.mkdir(parents=True, exist_ok=True)
    path = node.folder / "server.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in node.properties().items()))
    java = _java(jars)
    if not (node.folder / "log" / "meta.properties").exists():
        users = [
            word
            for name, password in node.users.items()
            for word in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]")
        ]
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(path)]
        run([*tool, *users])
    return [*java, "kafka.Kafka", str(path)]


def cluster_nodes(folder: Path, ports: Sequence[tuple[int, int]]) -> list[KafkaNode]:
    """Nodes of a cluster without security.

    Args:
        folder: Each node gets a folder in it.
        ports: The port of its clients and that of its controller, for each node.
    """
    controllers = {number: controller for number, (_, controller) in enumerate(ports, 1)}
    return [
        KafkaNode(number, folder / f"kafka-{number}", port, controllers)
        for number, (port, _) in enumerate(ports, 1)
    ]


def _java(jars: Path) -> list[str]:
    java = program("java", "a JDK of 17 or newer, to run Kafka (Debian: apt install openjdk-17-jre-headless)")
    options = [f"-Xmx{HEAP}", f"-Xms{HEAP}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    return [java, *options, "-cp", f"{jars}/*"]
