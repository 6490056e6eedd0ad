"""Clients of Kafka, and what they say when they cannot be had."""

import pytest

from infra.errors import MissingPartError, SettingError
from infra.kafka import admin, check_broker, consumer, producer
from infra.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"sasl.usernam": "x"}, 'No such configuration property: "sasl.usernam"'),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere.pem"}, r"ssl\.ca\.location failed"),
    ],
)
def test_properties_that_a_client_cannot_use_are_a_wrong_setting(
    properties: dict[str, str], words: str
) -> None:
    settings = load_settings(kafka=properties)
    for make in (admin, producer, check_broker):
        with pytest.raises(SettingError, match=rf"HEADRACE_KAFKA__.*{words}"):
            make(settings)
    with pytest.raises(SettingError, match=rf"HEADRACE_KAFKA__.*{words}"):
        consumer(settings, "group")


def test_no_broker_is_said_with_what_the_client_found(offline_settings: Settings) -> None:
    with pytest.raises(MissingPartError, match=r"Connection refused.*headrace up"):
        check_broker(offline_settings, 0.5)


def test_a_broker_that_speaks_another_protocol_is_said_with_its_setting(broker: str) -> None:
    settings = load_settings(broker=broker, kafka={"security.protocol": "SSL"})
    with pytest.raises((MissingPartError, SettingError), match=r"HEADRACE_KAFKA__S.*SSL"):
        check_broker(settings, 1)
