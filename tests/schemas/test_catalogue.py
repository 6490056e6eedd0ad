"""The topics are what the catalogue says, on a real broker and a real registry."""

import pytest

from infra.settings import Settings
from schemas.catalogue import (
    CATALOGUE,
    apply,
    check,
)
from schemas.codec import Codec
from schemas.registry import Registry


def test_a_second_apply_changes_nothing(installation: Settings) -> None:
    assert apply(installation) == []


def test_what_was_applied_passes_the_check(installation: Settings) -> None:
    assert check(installation) == []


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_example_survives_encoding(name: str, registry: Registry) -> None:
    codec = Codec(name, registry)
    assert CATALOGUE[name].examples
    for example in CATALOGUE[name].examples:
        decoded = codec.decode_record(codec.encode_record(example))
        assert {key: decoded[key] for key in example} == dict(example)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_examples_become_columns_and_the_same_bytes_again(name: str, registry: Registry) -> None:
    codec = Codec(name, registry)
    values = [codec.encode_record(example) for example in CATALOGUE[name].examples]
    decoded = codec.decode(values)
    assert decoded.bad == {}
    assert decoded.frame.schema == codec.empty.schema
    assert codec.encode(decoded.frame) == values
