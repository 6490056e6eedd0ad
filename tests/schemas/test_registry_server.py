"""The embedded registry behaves as Confluent's, also after a restart, and there is only one."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.errors import FencedError, MissingPartError
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import CATALOGUE, SALES_INPUT, schema_of
from schemas.codec import Codec
from schemas.registry import Registry
from schemas.registry_api import BODY_BYTES_MAX
from schemas.registry_log import SCHEMAS_TOPIC
from schemas.registry_server import RegistryServer
from tests.schemas.running import serving_registry


def record(*names: str, kind: str = "int", **more: Any) -> str:
    fields = [{"name": name, "type": kind, **more} for name in names]
    return json.dumps({"type": "record", "name": "R", "fields": fields})


@pytest.fixture
def http(installation: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=installation.registry, timeout=10) as client:
        yield client


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}-value"


def register(http: httpx.Client, subject: str, schema: str, **more: Any) -> httpx.Response:
    return http.post(f"/subjects/{subject}/versions", json={"schema": schema, **more})


def refused(answer: httpx.Response) -> tuple[int, int]:
    assert answer.json()["message"]
    return answer.status_code, answer.json()["error_code"]


def test_health_and_types_are_told(http: httpx.Client) -> None:
    assert http.get("/").status_code == 200
    assert http.get("/schemas/types").json() == ["AVRO"]
    assert http.get("/").headers["content-type"].startswith("application/vnd.schemaregistry.v1+json")


def test_one_text_has_one_id_in_every_subject(http: httpx.Client, subject: str) -> None:
    first = register(http, subject, record("one_text")).json()["id"]
    spaced = json.dumps(json.loads(record("one_text")), indent=4)
    assert register(http, f"other-{subject}", spaced).json()["id"] == first
    assert register(http, subject, spaced).json()["id"] == first
    assert http.get(f"/subjects/{subject}/versions").json() == [1]
    assert json.loads(http.get(f"/schemas/ids/{first}").json()["schema"]) == json.loads(record("one_text"))
    assert http.get(f"/schemas/ids/{first}/schema").json() == json.loads(record("one_text"))
    assert http.get(f"/schemas/ids/{first}/subjects").json() == sorted([subject, f"other-{subject}"])
    assert {"subject": subject, "version": 1} in http.get(f"/schemas/ids/{first}/versions").json()


def test_versions_are_counted_and_found(http: httpx.Client, subject: str) -> None:
    register(http, subject, record("a"))
    second = register(http, subject, record("a", "b", default=0)).json()["id"]
    assert http.get(f"/subjects/{subject}/versions").json() == [1, 2]
    for number in ("2", "latest", "-1"):
        found = http.get(f"/subjects/{subject}/versions/{number}").json()
        assert (found["subject"], found["version"], found["id"]) == (subject, 2, second)
    assert http.get(f"/subjects/{subject}/versions/1/schema").json() == json.loads(record("a"))
    assert http.get(f"/subjects/{subject}/versions/1/referencedby").json() == []
    assert subject in http.get("/subjects").json()
    assert http.get("/subjects", params={"subjectPrefix": subject}).json() == [subject]
    latest = http.get("/schemas", params={"subjectPrefix": subject, "latestOnly": "true"}).json()
    assert [found["version"] for found in latest] == [2]
    looked_up = http.post(f"/subjects/{subject}", json={"schema": record("a")}).json()
    assert (looked_up["version"], looked_up["subject"]) == (1, subject)


def test_what_is_not_there_has_confluents_codes(http: httpx.Client, subject: str) -> None:
    assert refused(http.get(f"/subjects/{subject}/versions")) == (404, 40401)
    assert refused(http.post(f"/subjects/{subject}", json={"schema": record("a")})) == (404, 40401)
    register(http, subject, record("a"))
    assert refused(http.get(f"/subjects/{subject}/versions/7")) == (404, 40402)
    assert refused(http.get(f"/subjects/{subject}/versions/none")) == (422, 42202)
    assert refused(http.get(f"/subjects/{subject}/versions/0")) == (422, 42202)
    assert refused(http.post(f"/subjects/{subject}", json={"schema": record("z")})) == (404, 40403)
    assert refused(http.get("/schemas/ids/999999")) == (404, 40403)
    assert refused(http.get("/schemas/ids/none")) == (404, 40403)
    assert refused(http.get(f"/config/{subject}")) == (404, 40408)
    assert refused(http.get(f"/mode/{subject}")) == (404, 40409)
    assert refused(http.delete(f"/subjects/no-{subject}")) == (404, 40401)


def test_what_is_no_schema_is_refused(http: httpx.Client, subject: str) -> None:
    for body in (
        {},
        {"schema": "{"},
        {"schema": 5},
        {"schema": '{"type": "nothing"}'},
        {"schema": record("a"), "schemaType": "JSON"},
        {"schema": record("a"), "references": [{"name": "x", "subject": "x", "version": 1}]},
    ):
        assert refused(http.post(f"/subjects/{subject}/versions", json=body)) == (422, 42201)
    assert refused(http.post(f"/subjects/{subject}/versions", content=b"{")) == (400, 400)
    assert refused(http.post(f"/subjects/{subject}/versions", content=b"[]")) == (400, 400)
    assert refused(register(http, subject, " " * BODY_BYTES_MAX)) == (413, 413)
    assert subject not in http.get("/subjects").json()


def test_an_incompatible_schema_is_refused_with_reasons(http: httpx.Client, subject: str) -> None:
    assert http.put(f"/config/{subject}", json={"compatibility": "full_transitive"}).json() == {
        "compatibility": "FULL_TRANSITIVE"
    }
    assert http.get(f"/config/{subject}").json() == {"compatibilityLevel": "FULL_TRANSITIVE"}
    register(http, subject, record("a"))
    answer = register(http, subject, record("a", "b"))
    assert refused(answer) == (409, 409)
    assert "field 'b' is not in the data and has no default" in answer.json()["message"]
    asked = http.post(
        f"/compatibility/subjects/{subject}/versions/latest",
        params={"verbose": "true"},
        json={"schema": record("a", "b")},
    ).json()
    assert asked["is_compatible"] is False
    assert "has no default" in asked["messages"][0]
    assert http.post(f"/compatibility/subjects/{subject}/versions", json={"schema": record("a")}).json() == {
        "is_compatible": True
    }
    assert http.delete(f"/config/{subject}").json() == {"compatibilityLevel": "FULL_TRANSITIVE"}
    assert http.get(f"/config/{subject}", params={"defaultToGlobal": "true"}).json() == {
        "compatibilityLevel": "BACKWARD"
    }
    assert refused(http.put(f"/config/{subject}", json={"compatibility": "SOME"})) == (422, 42203)


def test_a_changed_scale_is_refused(http: httpx.Client, subject: str) -> None:
    def priced(scale: int) -> str:
        kind = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": scale}
        return json.dumps({"type": "record", "name": "R", "fields": [{"name": "price", "type": kind}]})

    assert register(http, subject, priced(2)).status_code == 200
    assert refused(register(http, subject, priced(3))) == (409, 409)


def test_a_subject_is_hidden_first_and_then_removed(http: httpx.Client, subject: str) -> None:
    schema_id = register(http, subject, record("hidden", subject.partition("_")[0])).json()["id"]
    assert refused(http.delete(f"/subjects/{subject}", params={"permanent": "true"})) == (404, 40405)
    assert http.delete(f"/subjects/{subject}").json() == [1]
    assert refused(http.get(f"/subjects/{subject}/versions")) == (404, 40401)
    assert refused(http.delete(f"/subjects/{subject}")) == (404, 40404)
    assert http.get(f"/subjects/{subject}/versions", params={"deleted": "true"}).json() == [1]
    # Messages that carry the id are still readable.
    assert http.get(f"/schemas/ids/{schema_id}").status_code == 200
    assert http.delete(f"/subjects/{subject}", params={"permanent": "true"}).json() == [1]
    assert refused(http.get(f"/schemas/ids/{schema_id}")) == (404, 40403)


def test_a_version_is_hidden_first_and_then_removed(http: httpx.Client, subject: str) -> None:
    register(http, subject, record("v"))
    register(http, subject, record("v", "w", default=0))
    assert refused(http.delete(f"/subjects/{subject}/versions/1", params={"permanent": "true"})) == (
        404,
        40407,
    )
    assert http.delete(f"/subjects/{subject}/versions/1").json() == 1
    assert http.get(f"/subjects/{subject}/versions").json() == [2]
    assert http.delete(f"/subjects/{subject}/versions/1", params={"permanent": "true"}).json() == 1
    assert http.get(f"/subjects/{subject}/versions", params={"deleted": "true"}).json() == [2]
    assert register(http, subject, record("v")).json()["version"] == 3


def test_a_read_only_subject_takes_no_schema(http: httpx.Client, subject: str) -> None:
    assert http.put(f"/mode/{subject}", json={"mode": "READONLY"}).json() == {"mode": "READONLY"}
    assert refused(register(http, subject, record("a"))) == (422, 42205)
    assert http.delete(f"/mode/{subject}").json() == {"mode": "READONLY"}
    assert register(http, subject, record("a")).status_code == 200
    assert http.get("/mode").json() == {"mode": "READWRITE"}
    assert refused(http.put("/mode", json={"mode": "IMPORT"})) == (422, 42204)


@pytest.fixture
def client(installation: Settings) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": installation.registry}) as client:
        yield client


def test_confluents_own_client_and_serializers_work(
    client: SchemaRegistryClient, registry: Registry, subject: str
) -> None:
    topic, example = subject.removesuffix("-value"), dict(CATALOGUE[SALES_INPUT].examples[0])
    serializer = AvroSerializer(client, schema_of(SALES_INPUT))
    context = SerializationContext(topic, MessageField.VALUE)
    value = serializer(example, context)
    assert AvroDeserializer(client)(value, context) == example
    # Their bytes are ours: the same text has the same id.
    codec = Codec(SALES_INPUT, registry)
    assert codec.encode_record(example) == value
    assert codec.decode([value]).frame["sale_id"].to_list() == [example["sale_id"]]
    assert client.get_versions(subject) == [1]
    assert client.get_latest_version(subject).version == 1
    client.set_compatibility(subject, "FULL")
    assert client.get_compatibility(subject) == "FULL"
    assert client.test_compatibility(subject, Schema(record("a"), "AVRO")) is False
    with pytest.raises(SchemaRegistryError, match="incompatible") as caught:
        client.register_schema(subject, Schema(record("a"), "AVRO"))
    assert caught.value.http_status_code == 409
    assert client.delete_subject(subject) == [1]


def test_a_restarted_registry_keeps_ids_levels_and_deletions(lone_broker: Settings) -> None:
    settings = lone_broker
    with serving_registry(settings), httpx.Client(base_url=settings.registry) as http:
        ids = [register(http, f"s{number}", record(f"f{number}")).json()["id"] for number in range(5)]
        http.put("/config/s0", json={"compatibility": "FULL"})
        http.put("/config", json={"compatibility": "NONE"})
        http.delete("/subjects/s1")
        http.delete("/subjects/s4")
        http.delete("/subjects/s4", params={"permanent": "true"})
    assert ids == [1, 2, 3, 4, 5]
    with serving_registry(settings), httpx.Client(base_url=settings.registry) as http:
        assert http.get("/subjects").json() == ["s0", "s2", "s3"]
        assert http.get("/subjects", params={"deleted": "true"}).json() == ["s0", "s1", "s2", "s3"]
        assert [http.get(f"/schemas/ids/{schema_id}").status_code for schema_id in ids] == [
            200,
            200,
            200,
            200,
            404,
        ]
        assert http.get("/config/s0").json() == {"compatibilityLevel": "FULL"}
        assert http.get("/config").json() == {"compatibilityLevel": "NONE"}
        assert register(http, "s2", record("f2")).json()["id"] == 3
        # The id of what was removed for good is not given to another schema.
        assert register(http, "s9", record("f9")).json()["id"] == 6


def test_the_log_has_confluents_form(lone_broker: Settings) -> None:
    with serving_registry(lone_broker), httpx.Client(base_url=lone_broker.registry) as http:
        register(http, "s", record("a"))
        http.put("/config/s", json={"compatibility": "FULL"})
        http.delete("/subjects/s")
    reader = TopicReader(lone_broker, [SCHEMAS_TOPIC], "form")
    entries = [
        (json.loads(message.key() or b""), json.loads(message.value() or b"null"))
        for batch in reader.read_to_end()
        for message in batch
    ]
    reader.close()
    text = json.dumps(json.loads(record("a")), separators=(",", ":"))
    assert entries == [
        (
            {"keytype": "SCHEMA", "subject": "s", "version": 1, "magic": 1},
            {"subject": "s", "version": 1, "id": 1, "schema": text, "deleted": False},
        ),
        ({"keytype": "CONFIG", "subject": "s", "magic": 0}, {"subject": "s", "compatibilityLevel": "FULL"}),
        ({"keytype": "DELETE_SUBJECT", "subject": "s", "magic": 0}, {"subject": "s", "version": 1}),
        ({"keytype": "CONFIG", "subject": "s", "magic": 0}, None),
        ({"keytype": "MODE", "subject": "s", "magic": 0}, None),
    ]


def test_a_second_registry_takes_the_log_over_and_the_first_stops(
    lone_broker: Settings, free_settings: Settings
) -> None:
    first = RegistryServer(lone_broker, lone_broker.ports.registry)
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            first.run()
        except FencedError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with serving_registry(free_settings), httpx.Client() as http:
        schema = {"schema": record("a")}
        late = http.post(f"{lone_broker.registry}/subjects/s/versions", json=schema)
        assert late.status_code == 500
        thread.join(10)
        assert [type(error) for error in outcome] == [FencedError]
        assert http.post(f"{free_settings.registry}/subjects/s/versions", json=schema).json()["id"] == 1


@pytest.fixture
def free_settings(lone_broker: Settings, offline_settings: Settings) -> Settings:
    """The same broker, another port for the registry."""
    return offline_settings.model_copy(update={"broker": lone_broker.bootstrap_servers})


def test_a_registry_on_a_port_that_is_taken_leaves_the_log_alone(
    installation: Settings, registry: Registry
) -> None:
    with pytest.raises(MissingPartError, match="HEADRACE_PORTS__REGISTRY"):
        RegistryServer(installation, installation.ports.registry)
    assert registry.register("port-taken-value", record("a")) > 0


def test_many_at_once_get_one_id(http: httpx.Client, subject: str) -> None:
    found: list[int] = []

    def ask() -> None:
        found.append(register(http, subject, record("at_once")).json()["id"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert len(set(found)) == 1
