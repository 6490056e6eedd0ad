"""Our client of the registry: refusals come with reasons, and before anything is produced."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra.errors import (
    FaultError,
    IncompatibleSchemaError,
    MissingPartError,
    SettingError,
    UnavailableError,
    UndecodableError,
)
from infra.settings import Settings
from schemas.registry import Registry

MONEY = (
    '{"type":"record","name":"M","fields":'
    '[{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}'
)


def test_registering_twice_gives_the_same_id(registry: Registry) -> None:
    assert registry.latest("twice-value") is None
    first = registry.register("twice-value", MONEY)
    assert registry.register("twice-value", MONEY) == first == registry.id_of("twice-value", MONEY)
    assert registry.schema_by_id(first) == json.loads(MONEY)
    assert registry.latest("twice-value") == MONEY
    assert registry.versions("twice-value") == [MONEY]


def test_an_incompatible_schema_is_refused_and_not_registered(registry: Registry) -> None:
    registry.set_level("refused-value", "FULL_TRANSITIVE")
    registry.register("refused-value", MONEY)
    with pytest.raises(IncompatibleSchemaError, match="field 'at': the logical type is timestamp-micros"):
        registry.register("refused-value", MONEY.replace("micros", "millis"))
    with pytest.raises(IncompatibleSchemaError, match="not an Avro schema"):
        registry.register("refused-value", "{}")
    assert registry.versions("refused-value") == [MONEY]


def test_a_level_is_the_subjects_own_or_else_the_registrys(registry: Registry) -> None:
    assert registry.own_level("level-value") is None
    assert registry.level("level-value") == "BACKWARD"
    registry.set_level("level-value", "FULL")
    assert registry.own_level("level-value") == registry.level("level-value") == "FULL"


def test_an_unknown_id_is_asked_for_once(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, asked = Registry(installation), []
    get_schema = registry._client.get_schema

    def counted(schema_id: int) -> object:
        asked.append(schema_id)
        return get_schema(schema_id)

    monkeypatch.setattr(registry._client, "get_schema", counted)
    for _ in range(3):
        with pytest.raises(UndecodableError, match="no Avro schema of id 31337"):
            registry.schema_by_id(31337)
    assert asked == [31337]


def test_a_registry_that_does_not_answer_is_named(offline_settings: Settings) -> None:
    registry = Registry(offline_settings, timeout_s=1)
    with pytest.raises(UnavailableError, match=rf"{offline_settings.registry} \(HEADRACE_REGISTRY_URL\)"):
        registry.latest("x")
    with pytest.raises(MissingPartError, match="HEADRACE_REGISTRY_URL"):
        registry.check()


def test_a_password_in_the_address_does_not_show(offline_settings: Settings) -> None:
    settings = offline_settings.model_copy(
        update={"registry_url": offline_settings.registry.replace("http://", "http://reader:hushed@")}
    )
    with pytest.raises(UnavailableError) as caught:
        Registry(settings, timeout_s=1).latest("x")
    assert "hushed" not in str(caught.value)


def test_an_address_that_is_none_is_a_wrong_setting(offline_settings: Settings) -> None:
    with pytest.raises(SettingError, match="HEADRACE_REGISTRY_URL"):
        Registry(offline_settings.model_copy(update={"registry_url": "localhost:8081"}))


def test_a_server_that_is_no_registry_is_a_fault(installation: Settings) -> None:
    settings = installation.model_copy(update={"registry_url": f"{installation.registry}/elsewhere"})
    with pytest.raises(FaultError, match="answers 404"):
        Registry(settings).latest("x")


def test_a_page_is_no_answer(offline_settings: Settings) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", offline_settings.ports.registry), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(FaultError, match="answers what no schema registry answers"):
            Registry(offline_settings).check()
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
