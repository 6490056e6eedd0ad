"""The embedded schema registry: a process that serves Confluent's REST API on one port.

It serves the one-machine stack, and any client of Confluent's registry. Its state lies in the topic
`_schemas` in Confluent's own form, so that Confluent's registry can take the topic over.

Guarantee: a registered schema keeps its id over any restart; an answer to a change means that the change is
in the log. When its log was taken over by another registry, or fails, it stops: a new start restores it.
"""

import socket

import uvicorn

from infra.errors import HeadraceError, MissingPartError
from infra.settings import Settings
from schemas.registry_api import registry_app
from schemas.registry_log import RegistryLog
from schemas.registry_rules import SchemaRegistry

HOST = "127.0.0.1"


class RegistryServer:
    """A registry that is restored, and listens on a port of the loopback address.

    Raises:
        MissingPartError: The port is taken, or no broker answers.
        UnavailableError: The broker did not hand out the log in time.
    """

    def __init__(self, settings: Settings, port: int) -> None:
        # The port comes first: a second registry started by mistake must not take the log from the first.
        self._socket = _listening(port)
        self._failure: HeadraceError | None = None
        try:
            self._log = RegistryLog(settings)
            app = registry_app(SchemaRegistry(self._log), self._failed)
        except BaseException:
            self._socket.close()
            raise
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5
            )
        )

    def run(self) -> None:
        """Serve until told to stop.

        Raises:
            FencedError: Another registry has taken over; run only one on a broker.
            CommitUnknownError: The log could not be written.
        """
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._log.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Tell it to end; `run` returns when the answers under way are given."""
        self._server.should_exit = True

    def _failed(self, error: HeadraceError) -> None:
        self._failure = error
        self.stop()


def run_registry(settings: Settings, port: int) -> None:
    """Serve on a port of the loopback address until told to stop.

    Raises:
        MissingPartError: The port is taken, or no broker answers.
        FencedError: Another registry has taken over.
        UnavailableError: The log could not be read or written.
    """
    RegistryServer(settings, port).run()


def _listening(port: int) -> socket.socket:
    # With the protocol named, asyncio sends small answers at once instead of waiting for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise MissingPartError(
            f"port {port} for the schema registry is taken; set HEADRACE_PORTS__REGISTRY to one that is free"
        ) from error
    return listener
