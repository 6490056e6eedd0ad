"""What the embedded registry knows: subjects, versions, ids, levels and modes.

It is the fold of the log: each entry of the topic `_schemas`, in Confluent's own form, changes the state in
one way. Guarantee: the same entries in the same order give the same state, so ids survive any restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Key = Mapping[str, Any]
Value = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a subject; a deleted one is hidden, and its id stays readable."""

    subject: str
    version: int
    schema_id: int
    schema: str
    deleted: bool = False

    @property
    def shown(self) -> dict[str, Any]:
        """As the registry's API shows it."""
        return {"subject": self.subject, "version": self.version, "id": self.schema_id, "schema": self.schema}


@dataclass(slots=True)
class RegistryState:
    """The standing of all subjects.

    Attributes:
        subjects: Versions by subject and number, deleted ones among them.
        ids: Schema text by id.
        levels: Compatibility levels; None holds the registry's own.
        modes: Modes; None holds the registry's own.
        id_max: Largest id that was ever given in the log.
    """

    subjects: dict[str, dict[int, Version]] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    levels: dict[str | None, str] = field(default_factory=lambda: {None: "BACKWARD"})
    modes: dict[str | None, str] = field(default_factory=lambda: {None: "READWRITE"})
    id_max: int = 0

    def apply(self, key: Key, value: Value) -> None:
        """Take in the next entry of the log; kinds of entries that are not known are passed over."""
        kind, subject = key.get("keytype"), key.get("subject")
        if kind == "SCHEMA":
            self._apply_schema(str(subject), int(key["version"]), value)
        elif kind == "DELETE_SUBJECT" and value is not None:
            versions = self.subjects.get(str(subject), {})
            for number in [number for number in versions if number <= int(value["version"])]:
                versions[number] = replace(versions[number], deleted=True)
        elif kind == "CLEAR_SUBJECT":
            self.subjects.pop(str(subject), None)
        elif kind == "CONFIG":
            _put(self.levels, subject, None if value is None else value.get("compatibilityLevel"), "BACKWARD")
        elif kind == "MODE":
            _put(self.modes, subject, None if value is None else value.get("mode"), "READWRITE")

    def _apply_schema(self, subject: str, number: int, value: Value) -> None:
        versions = self.subjects.setdefault(subject, {})
        if value is None:
            removed = versions.pop(number, None)
            if not versions:
                del self.subjects[subject]
            if removed is not None and not self.versions_of_id(removed.schema_id, deleted=True):
                self.ids.pop(removed.schema_id, None)
            return
        version = Version(
            subject, number, int(value["id"]), str(value["schema"]), bool(value.get("deleted", False))
        )
        versions[number] = version
        self.ids[version.schema_id] = version.schema
        self.id_max = max(self.id_max, version.schema_id)

    def versions(self, subject: str, deleted: bool = False) -> list[Version]:
        """Versions of a subject, oldest first; the deleted ones only when asked for."""
        found = self.subjects.get(subject, {})
        return [found[number] for number in sorted(found) if deleted or not found[number].deleted]

    def names(self, deleted: bool = False) -> list[str]:
        """Subjects that have a version."""
        return sorted(subject for subject in self.subjects if self.versions(subject, deleted))

    def versions_of_id(self, schema_id: int, deleted: bool = False) -> list[Version]:
        """Every version, of any subject, that carries an id."""
        return [
            version
            for subject in self.names(deleted)
            for version in self.versions(subject, deleted)
            if version.schema_id == schema_id
        ]

    def id_for(self, schema: str) -> int:
        """The id of a schema text: the one that it has, or the next."""
        return next((schema_id for schema_id, text in self.ids.items() if text == schema), self.id_max + 1)

    def next_version(self, subject: str) -> int:
        """The number that the next version of a subject gets; numbers of deleted ones are not given again."""
        return max(self.subjects.get(subject, {}), default=0) + 1


def _put(settings: dict[str | None, str], subject: Any, value: str | None, default: str) -> None:
    if value is not None:
        settings[subject] = value
    elif subject is None:
        settings[None] = default
    else:
        settings.pop(subject, None)


def schema_entry(version: Version) -> tuple[dict[str, Any], dict[str, Any]]:
    """The log entry that states a version."""
    key = {"keytype": "SCHEMA", "subject": version.subject, "version": version.version, "magic": 1}
    return key, {
        "subject": version.subject,
        "version": version.version,
        "id": version.schema_id,
        "schema": version.schema,
        "deleted": version.deleted,
    }


def setting_key(kind: str, subject: str | None) -> dict[str, Any]:
    """The key of the log entry that states a level (`CONFIG`) or a mode (`MODE`)."""
    return {"keytype": kind, "subject": subject, "magic": 0}


def delete_subject_entry(subject: str, version: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The log entry that hides all versions of a subject up to one."""
    return {"keytype": "DELETE_SUBJECT", "subject": subject, "magic": 0}, {
        "subject": subject,
        "version": version,
    }
