"""Puts the HTTP service together: the app, and what it is given of the stream's side."""

import ipaddress
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from types import FrameType
from typing import BinaryIO

import uvicorn

from cli.lag import LagWatch
from cli.own_token import own_token
from cli.stream_view import StreamView
from cli.windows_view import WindowsView
from infra.blobs import BlobStore, open_store
from infra.errors import SettingError
from infra.settings import Settings
from lake.datasets import dataset_in_use
from serving.app import create_app
from serving.ports import Content, Receipt
from serving.token_store import TokenStore
from serving.tokens import now_utc
from stream_jobs.ingest.accept import Desk

logger = logging.getLogger(__name__)

SHUTDOWN_S = 10


class _HttpDesk:
    """The desk, answering with the receipt of the HTTP service."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def accept(self, customer_id: str, content: Content | None, name: str, stream: BinaryIO) -> Receipt:
        """Store a file and write it into the log of deliveries; see `Desk.accept`."""
        return Receipt(**asdict(self._desk.accept(customer_id, content, name, stream)))


class _Server(uvicorn.Server):
    """Uvicorn, which lets go of those who would listen for an hour before it waits for what is under way.

    Args:
        config: Of the server.
        on_exit: Called when it is told to stop.
    """

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Be told to stop by a signal."""
        self._on_exit()
        super().handle_exit(sig, frame)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what binds to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tokens_to_serve(settings: Settings, store: BlobStore) -> TokenStore:
    """The tokens of the installation, its own among them when it is set.

    Raises:
        SettingError: There is none, and more than this machine would reach the service.
    """
    tokens = TokenStore(store)
    if settings.http.token is not None:
        own_token(settings, tokens)
    if not is_loopback(settings.http_host) and not any(
        tokens.is_valid(one, now_utc()) for one in tokens.all()
    ):
        raise SettingError(
            f"HEADRACE_HTTP_HOST: expected a loopback address while there is no token, found {settings.http_host}; "
            "make one by `headrace token make`, or set HEADRACE_HTTP__TOKEN"
        )
    return tokens


def serve_http(settings: Settings) -> None:
    """Serve the API and the page until SIGTERM or Ctrl-C; requests under way are answered first.

    Raises:
        MissingPartError: Broker, registry or lake cannot be had.
        SettingError: It would be reached from elsewhere, and there is no token.
    """
    store, tables = open_store(settings), dataset_in_use(settings)
    tokens = tokens_to_serve(settings, store)
    view, windows = StreamView(settings, store), WindowsView(settings)
    desk = Desk(settings, store)
    stop = threading.Event()
    followers = [
        threading.Thread(target=view.follow, args=(stop,), name="stream-view", daemon=True),
        threading.Thread(target=windows.follow, args=(stop,), name="windows-view", daemon=True),
    ]
    for follower in followers:
        follower.start()
    app = create_app(settings, tables, _HttpDesk(desk), view, view, windows, LagWatch(settings), view, tokens)
    config = uvicorn.Config(
        app, host=settings.http_host, port=settings.ports.http, log_config=None, access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S, server_header=False,
    )  # fmt: skip
    try:
        _Server(config, app.state.service.events.stop).run()
    finally:
        stop.set()
        for follower in followers:
            follower.join(SHUTDOWN_S)
        view.close()
        windows.close()
        desk.close()
