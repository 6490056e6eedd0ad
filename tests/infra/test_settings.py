"""Settings: where they come from, and what a wrong one is answered with."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from infra.errors import SettingError
from infra.settings import Settings, load_settings, settings_environment


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HEADRACE_BROKR", "x:1", "HEADRACE_BROKR is no setting; did you mean HEADRACE_BROKER?"),
        (
            "HEADRACE_NOTHING_LIKE_IT",
            "1",
            "HEADRACE_NOTHING_LIKE_IT is no setting; docs/settings.md lists them",
        ),
        ("HEADRACE_STREAM__BATCH_ROWS", "1", "did you mean HEADRACE_STREAM__BATCH_ROWS_MAX?"),
        ("HEADRACE_PORTS__HTTP", "a lot", "HEADRACE_PORTS__HTTP: input should be a valid integer"),
        ("HEADRACE_PORTS__HTTP", "70000", "less than or equal to 65535; found '70000'"),
        ("HEADRACE_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'; found 'loud'"),
        ("HEADRACE_STREAM__WORKER", "A b", "HEADRACE_STREAM__WORKER"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError) as raised:
        load_settings()
    assert words in str(raised.value)


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BROKR", "x:1")
    monkeypatch.setenv("HEADRACE_PORTS__HTTP", "0")
    with pytest.raises(SettingError, match=r"BROKR.*PORTS__HTTP"):
        load_settings()


def test_a_secret_shows_in_no_error_and_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_S3__SECRET_KEY", "hush")
    monkeypatch.setenv("HEADRACE_KAFKA__SASL_PASSWORD", "hush")
    assert "hush" not in repr(load_settings())
    monkeypatch.delenv("HEADRACE_KAFKA__SASL_PASSWORD")
    monkeypatch.setenv("HEADRACE_KAFKA", "hush")
    with pytest.raises(SettingError) as raised:
        load_settings()
    assert "hush" not in str(raised.value)


def test_another_process_loads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA__SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("HEADRACE_S3__SECRET_KEY", "hush")
    first = load_settings(home=tmp_path, sales_partitions=7)
    for name, value in settings_environment(first).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == first
    assert first.kafka == {"sasl.mechanism": "PLAIN"}


def test_a_profile_changes_defaults_and_what_is_set_by_name_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = load_settings().stream
    monkeypatch.setenv("HEADRACE_PROFILE", "latency")
    tuned = load_settings()
    assert (tuned.stream.transaction_wait_ms, tuned.stream.linger_ms) == (0, 0)
    assert usual.transaction_wait_ms > 0
    assert tuned.stream.batch_rows_max == usual.batch_rows_max
    monkeypatch.setenv("HEADRACE_STREAM__TRANSACTION_WAIT_MS", "70")
    by_name = load_settings(home=tmp_path)
    assert (by_name.stream.transaction_wait_ms, by_name.stream.linger_ms) == (70, 0)
    for name, value in settings_environment(by_name).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == by_name


def test_every_setting_says_what_it_is() -> None:
    nested: list[type[BaseModel]] = [type(value) for _, value in Settings() if isinstance(value, BaseModel)]
    assert len(nested) == 6
    models: list[type[BaseModel]] = [Settings, *nested]
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description or isinstance(field.default, BaseModel), f"{model.__name__}.{name}"
