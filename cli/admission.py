"""Whether the servers that the settings name let this process in, asked before anything is done.

A client of Kafka that is refused goes on asking for ever, and one of S3 for some seconds at each request: here a
wrong password or a certificate that is not trusted ends a command at once, with the setting to look at.
"""

from infra.blobs import open_store
from infra.kafka import check_broker
from infra.settings import Settings


def admitted(settings: Settings) -> Settings:
    """The settings, once the brokers and the lake that they name have let this process in.

    Raises:
        SettingError: One of them refuses it.
        MissingPartError: No broker answers.
        UnavailableError: The lake does not answer.
    """
    check_broker(settings)
    return admitted_to_lake(settings)


def admitted_to_lake(settings: Settings) -> Settings:
    """The same for the lake alone."""
    open_store(settings).folders("")
    return settings
