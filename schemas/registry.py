"""Our client of the schema registry, whichever serves: the embedded one or Confluent's.

Guarantee: a schema that would break its readers is refused with the reasons before anything is written with
it. An id, once answered, is never asked for again by the same process.
"""

import json
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast
from urllib.parse import urlsplit

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from infra.errors import (
    FaultError,
    IncompatibleSchemaError,
    MissingPartError,
    SettingError,
    UnavailableError,
    UndecodableError,
)
from infra.settings import Settings
from schemas.compatibility import LEVELS, Level, incompatibilities
from schemas.records import AvroType

Answer = TypeVar("Answer")

_REFUSED_SUBJECT, _REFUSED_VERSION, _REFUSED_SCHEMA = 40401, 40402, 40403
_INVALID_SCHEMA, _NO_LEVEL, _INCOMPATIBLE = 42201, 40408, 409
_UNKNOWN_MAX = 1_000
_UNKNOWN_S = 60.0


class Registry:
    """Schemas and their ids, as the registry of the settings holds them."""

    def __init__(self, settings: Settings, timeout_s: float = 10.0) -> None:
        """Nothing is asked yet.

        Args:
            settings: Where the registry is.
            timeout_s: Longest wait for one answer.

        Raises:
            SettingError: The address is none.
        """
        url = settings.registry
        parts = urlsplit(url)
        self._shown_url = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        properties = {
            "url": url,
            "timeout": timeout_s,
            "max.retries": 3,
            "retries.wait.ms": 100,
            "retries.max.wait.ms": 1_000,
        }
        try:
            self._client = SchemaRegistryClient(properties)
        except ValueError as error:
            raise SettingError(f"HEADRACE_REGISTRY_URL: {error}; expected http://HOST:PORT") from error
        # Whoever drops a client without closing it leaves no connection behind.
        self._closed = weakref.finalize(self, self._client.close)
        self._schemas: dict[int, AvroType] = {}
        self._unknown: OrderedDict[int, float] = OrderedDict()

    def check(self) -> None:
        """Ask the registry something.

        Raises:
            MissingPartError: It does not answer.
        """
        try:
            self._ask(self._client.get_schema_types)
        except UnavailableError as error:
            raise MissingPartError(
                f"{error} Start one (`headrace up`), or set HEADRACE_REGISTRY_URL to one that runs."
            ) from error

    def register(self, subject: str, schema: str) -> int:
        """The id of a schema in a subject; a new schema becomes the subject's next version.

        Args:
            subject: Such as `sales-input-value`.
            schema: Avro schema, JSON text.

        Raises:
            IncompatibleSchemaError: The schema would break readers or writers of the older versions.
            UnavailableError: The registry does not answer.
        """
        known = self.id_of(subject, schema)
        if known is not None:
            return known
        # A registry may know less of logical types than we do, so the reasons are found here first.
        reasons = incompatibilities(schema, self.versions(subject), self.level(subject))
        if reasons:
            raise IncompatibleSchemaError(f"the new schema of {subject} is refused: " + "; ".join(reasons))
        return int(self._ask(lambda: self._client.register_schema(subject, Schema(schema, "AVRO"))))

    def id_of(self, subject: str, schema: str) -> int | None:
        """The id of a schema that is a version of a subject, or None.

        Raises:
            UnavailableError: The registry does not answer.
        """
        found = self._ask_or_none(lambda: self._client.lookup_schema(subject, Schema(schema, "AVRO")))
        return None if found is None else cast("int", found.schema_id)

    def schema_by_id(self, schema_id: int) -> AvroType:
        """The schema of an id, as parsed JSON. Not to be changed: it is shared.

        Raises:
            UndecodableError: There is no such Avro schema.
            UnavailableError: The registry does not answer.
        """
        if schema_id not in self._schemas:
            self._fetch(schema_id)
        return self._schemas[schema_id]

    def _fetch(self, schema_id: int) -> None:
        asked = self._unknown.get(schema_id)
        # A flood of foreign messages must not become a flood of questions.
        if asked is None or time.monotonic() - asked > _UNKNOWN_S:
            found = self._ask_or_none(lambda: self._client.get_schema(schema_id))
            if found is not None and found.schema_type == "AVRO" and not found.references:
                self._schemas[schema_id] = json.loads(found.schema_str or "")
                return
            self._unknown[schema_id] = time.monotonic()
            self._unknown.move_to_end(schema_id)
            if len(self._unknown) > _UNKNOWN_MAX:
                self._unknown.popitem(last=False)
        raise UndecodableError(f"the registry has no Avro schema of id {schema_id}")

    def latest(self, subject: str) -> str | None:
        """The newest version of a subject, JSON text, or None when there is none.

        Raises:
            UnavailableError: The registry does not answer.
        """
        found = self._ask_or_none(lambda: self._client.get_latest_version(subject))
        return None if found is None else cast("str", found.schema.schema_str)

    def versions(self, subject: str) -> list[str]:
        """All versions of a subject, oldest first, JSON texts.

        Raises:
            UnavailableError: The registry does not answer.
        """
        numbers = self._ask_or_none(lambda: self._client.get_versions(subject)) or []
        found = [self._ask_or_none(partial(self._client.get_version, subject, number)) for number in numbers]
        return [version.schema.schema_str or "" for version in found if version is not None]

    def level(self, subject: str) -> Level:
        """What new versions of a subject must keep; the registry's own level when the subject has none.

        Raises:
            UnavailableError: The registry does not answer.
        """
        return self.own_level(subject) or _level(self._ask(self._client.get_compatibility))

    def own_level(self, subject: str) -> Level | None:
        """The level that is set for a subject itself, or None.

        Raises:
            UnavailableError: The registry does not answer.
        """
        found = self._ask_or_none(partial(self._client.get_compatibility, subject))
        return None if found is None else _level(found)

    def set_level(self, subject: str, level: Level) -> None:
        """Set what new versions of a subject must keep.

        Raises:
            UnavailableError: The registry does not answer.
        """
        self._ask(lambda: self._client.set_compatibility(subject, level))

    def close(self) -> None:
        """Close the connections."""
        self._closed()

    def _ask_or_none(self, question: Callable[[], Answer]) -> Answer | None:
        try:
            return self._ask(question)
        except _NotFoundError:
            return None

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        where = f"the schema registry at {self._shown_url} (HEADRACE_REGISTRY_URL)"
        try:
            return question()
        except httpx2.TransportError as error:
            raise UnavailableError(f"{where} does not answer: {error}.") from error
        except ValueError as error:
            raise FaultError(f"{where} answers what no schema registry answers: {error}") from error
        except SchemaRegistryError as error:
            code, status = error.error_code, error.http_status_code
            if code in (_REFUSED_SUBJECT, _REFUSED_VERSION, _REFUSED_SCHEMA, _NO_LEVEL):
                raise _NotFoundError(str(error)) from error
            if code == _INVALID_SCHEMA or status == _INCOMPATIBLE:
                raise IncompatibleSchemaError(f"{where} refuses the schema: {error.error_message}") from error
            if status in (408, 429) or status >= 500:
                raise UnavailableError(f"{where} answers {status}: {error.error_message}.") from error
            raise FaultError(f"{where} answers {status}: {error.error_message}") from error


def _level(text: str) -> Level:
    for level in LEVELS:
        if level == text:
            return level
    raise FaultError(
        f"the registry answers compatibility level {text!r}, expected one of {', '.join(LEVELS)}"
    )


class _NotFoundError(FaultError):
    """The registry has no such subject, version, schema or setting."""
