"""What the embedded registry answers: the decisions behind its REST API.

Errors carry Confluent's own codes, so that its clients understand them. Guarantee: an answer to a change is
given only after the change was committed to the log and read back from it.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from infra.errors import HeadraceError, IncompatibleSchemaError
from schemas.compatibility import LEVELS, Level, incompatibilities, parse
from schemas.registry_log import Entry, RegistryLog
from schemas.registry_state import (
    RegistryState,
    Version,
    delete_subject_entry,
    schema_entry,
    setting_key,
)

MODES = ("READWRITE", "READONLY", "READONLY_OVERRIDE")
_VERSION_MAX = 2**31 - 1


class RefusedError(HeadraceError):
    """A request that is answered with an error of Confluent's API."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return self.code // 100 if self.code >= 1_000 else self.code


class SchemaRegistry:
    """Subjects and their versions, kept in a log. May be shared between threads."""

    def __init__(self, log: RegistryLog) -> None:
        """Restore everything from the log."""
        self._log, self._state = log, RegistryState()
        self._lock = threading.RLock()
        for key, value in log.read():
            self._state.apply(key, value)

    def _write(self, entries: Sequence[Entry]) -> None:
        for key, value in self._log.append(entries):
            self._state.apply(key, value)

    def register(self, subject: str, schema: str, kind: str, references: Sequence[Any]) -> Version:
        """The version of a schema in a subject: the one that it has, or a new one."""
        text = canonical(schema, kind, references)
        with self._lock:
            standing = self._state.versions(subject)
            same = next((version for version in standing if version.schema == text), None)
            if same is not None:
                return same
            self._may_write(subject)
            reasons = incompatibilities(text, [version.schema for version in standing], self.level(subject))
            if reasons:
                raise RefusedError(
                    409,
                    f"Schema being registered is incompatible with an earlier schema for subject "
                    f"{subject!r}: " + "; ".join(reasons),
                )
            version = Version(subject, self._state.next_version(subject), self._state.id_for(text), text)
            self._write([schema_entry(version)])
            return version

    def lookup(
        self, subject: str, schema: str, kind: str, references: Sequence[Any], deleted: bool
    ) -> Version:
        """The version that a schema has in a subject."""
        text = canonical(schema, kind, references)
        with self._lock:
            for version in self._existing(subject, deleted):
                if version.schema == text:
                    return version
        raise RefusedError(40403, "Schema not found")

    def subjects(self, prefix: str, deleted: bool) -> list[str]:
        """Names of subjects."""
        with self._lock:
            return [name for name in self._state.names(deleted) if name.startswith(prefix)]

    def versions(self, subject: str, deleted: bool) -> list[int]:
        """Numbers of a subject's versions."""
        with self._lock:
            return [version.version for version in self._existing(subject, deleted)]

    def version(self, subject: str, number: str, deleted: bool = False) -> Version:
        """A version of a subject, by its number or `latest`."""
        wanted = version_number(number)
        with self._lock:
            standing = self._existing(subject, deleted)
            if wanted is None:
                return standing[-1]
            for version in standing:
                if version.version == wanted:
                    return version
        raise RefusedError(40402, f"Version {wanted} not found.")

    def schema(self, schema_id: int) -> str:
        """The schema of an id, also of a version that was deleted but not for good."""
        with self._lock:
            if schema_id not in self._state.ids:
                raise RefusedError(40403, f"Schema {schema_id} not found")
            return self._state.ids[schema_id]

    def versions_of_id(self, schema_id: int, deleted: bool) -> list[Version]:
        """Where an id stands."""
        with self._lock:
            self.schema(schema_id)
            return self._state.versions_of_id(schema_id, deleted)

    def all_versions(self, prefix: str, deleted: bool, latest_only: bool) -> list[Version]:
        """Every version of every subject that has a prefix."""
        with self._lock:
            found = [self._state.versions(name, deleted) for name in self.subjects(prefix, deleted)]
        return [version for versions in found for version in (versions[-1:] if latest_only else versions)]

    def delete_subject(self, subject: str, permanent: bool) -> list[int]:
        """Hide a subject, or remove one that is hidden."""
        with self._lock:
            everything = self._state.versions(subject, deleted=True)
            standing = self._state.versions(subject)
            if not everything:
                raise RefusedError(40401, f"Subject {subject!r} not found.")
            self._may_write(subject)
            if permanent:
                if standing:
                    raise RefusedError(
                        40405, f"Subject {subject!r} was not deleted first before being permanently deleted"
                    )
                self._write([(schema_entry(version)[0], None) for version in everything])
                return [version.version for version in everything]
            if not standing:
                raise RefusedError(
                    40404, f"Subject {subject!r} was soft deleted. Set permanent=true to delete permanently"
                )
            self._write(
                [
                    delete_subject_entry(subject, standing[-1].version),
                    (setting_key("CONFIG", subject), None),
                    (setting_key("MODE", subject), None),
                ]
            )
            return [version.version for version in standing]

    def delete_version(self, subject: str, number: str, permanent: bool) -> int:
        """Hide a version, or remove one that is hidden."""
        with self._lock:
            version = self.version(subject, number, deleted=permanent)
            self._may_write(subject)
            if permanent and not version.deleted:
                raise RefusedError(
                    40407,
                    f"Subject {subject!r} Version {version.version} was not deleted first before "
                    "being permanently deleted",
                )
            key, value = schema_entry(replace(version, deleted=True))
            self._write([(key, None if permanent else value)])
            return version.version

    def check(
        self, subject: str, number: str | None, schema: str, kind: str, references: Sequence[Any]
    ) -> list[str]:
        """Why a schema may not follow a version, or (without a number) the subject's versions."""
        text = canonical(schema, kind, references)
        with self._lock:
            level = self.level(subject)
            if number is None:
                older = self._state.versions(subject)
            else:
                version_number(number)
                older = (
                    [self.version(subject, number)]
                    if self._state.versions(subject) or number != "latest"
                    else []
                )
        return incompatibilities(text, [version.schema for version in older], level)

    def level(self, subject: str | None) -> Level:
        """The level that holds for a subject."""
        with self._lock:
            return cast("Level", self._state.levels.get(subject, self._state.levels[None]))

    def own_level(self, subject: str) -> str:
        """The level that is set for a subject itself."""
        with self._lock:
            if subject not in self._state.levels:
                raise RefusedError(
                    40408, f"Subject {subject!r} does not have subject-level compatibility configured"
                )
            return self._state.levels[subject]

    def set_level(self, subject: str | None, level: Any) -> str:
        """Set the level of a subject, or of the registry."""
        wanted = str(level).upper()
        if wanted not in LEVELS:
            raise RefusedError(
                42203, f"Invalid compatibility level {level!r}; expected one of {', '.join(LEVELS)}"
            )
        with self._lock:
            self._may_write(subject)
            self._write(
                [(setting_key("CONFIG", subject), {"subject": subject, "compatibilityLevel": wanted})]
            )
        return wanted

    def unset_level(self, subject: str | None) -> str:
        """Take a level back to the default, and return the old one."""
        with self._lock:
            old = self.level(None) if subject is None else self.own_level(subject)
            self._may_write(subject)
            self._write([(setting_key("CONFIG", subject), None)])
            return old

    def mode(self, subject: str | None, default_to_global: bool = True) -> str:
        """Whether a subject may be written."""
        with self._lock:
            if subject not in self._state.modes and not default_to_global:
                raise RefusedError(40409, f"Subject {subject!r} does not have subject-level mode configured")
            return self._state.modes.get(subject, self._state.modes[None])

    def set_mode(self, subject: str | None, mode: Any) -> str:
        """Set whether a subject, or all of the registry, may be written."""
        wanted = str(mode).upper()
        if wanted not in MODES:
            raise RefusedError(42204, f"Invalid mode {mode!r}; expected one of {', '.join(MODES)}")
        with self._lock:
            self._write([(setting_key("MODE", subject), {"subject": subject, "mode": wanted})])
        return wanted

    def unset_mode(self, subject: str | None) -> str:
        """Take a mode back to the default, and return the old one."""
        with self._lock:
            old = self.mode(subject, default_to_global=False)
            self._write([(setting_key("MODE", subject), None)])
            return old

    def _existing(self, subject: str, deleted: bool) -> list[Version]:
        found = self._state.versions(subject, deleted)
        if not found:
            raise RefusedError(40401, f"Subject {subject!r} not found.")
        return found

    def _may_write(self, subject: str | None) -> None:
        mode = (
            self._state.modes[None] if self._state.modes[None] == "READONLY_OVERRIDE" else self.mode(subject)
        )
        if mode != "READWRITE":
            raise RefusedError(42205, f"Subject {subject!r} is in read-only mode")


def version_number(text: str) -> int | None:
    """The number of a version; None for `latest`, which `-1` also says."""
    if text in ("latest", "-1"):
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:11]) <= _VERSION_MAX:
        raise RefusedError(
            42202,
            f"The specified version {text[:40]!r} is not a valid version id. Allowed values are between "
            f'[1, {_VERSION_MAX}] and the string "latest"',
        )
    return int(text)


def canonical(schema: Any, kind: str, references: Sequence[Any]) -> str:
    """A schema's text without white space that says nothing; what is no Avro schema is refused."""
    if kind != "AVRO" or references:
        raise RefusedError(42201, "Invalid schema: only AVRO without references is kept here")
    try:
        parse(schema)
        return json.dumps(json.loads(schema), ensure_ascii=False, separators=(",", ":"))
    except (IncompatibleSchemaError, TypeError, ValueError) as error:
        raise RefusedError(42201, f"Invalid schema: {error}") from error
