"""A relay of TCP connections that can be cut, go silent, and lie in wait for a commit.

While it is silent nothing passes in either direction and nobody is told, as when a switch dies; what was held passes
on afterwards, or is lost with its connection.
"""

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

READ_BYTES = 1 << 16
END_TXN = 26
"""Kafka's number of the request that commits or aborts a transaction."""


@dataclass(frozen=True, slots=True)
class Ambush:
    """What is done to the next commit of one writer.

    Attributes:
        transactional_id: The writer.
        passes: Whether the broker gets the request; the answer is held in either case.
        caught: Set when it has come.
    """

    transactional_id: str
    passes: bool
    caught: threading.Event = field(default_factory=threading.Event)


class Relay:
    """Listens on a port of its own and passes on to another.

    Args:
        port: Port to listen on.
        behind: Port of the server.
        frames: Whether what is sent to the server is Kafka's requests, each behind its length.
    """

    def __init__(self, port: int, behind: int, *, frames: bool = False) -> None:
        self.port = port
        self._behind = behind
        self._frames = frames
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._ambush: Ambush | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._listening.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._listening.set()
        await self._closed.wait()
        server.close()
        self._cut()
        self._flowing.set()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def close(self) -> None:
        """Cut everything and end."""
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(10)

    def cut(self) -> None:
        """Drop every connection, with whatever is held of it."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Pass nothing on while the block lasts."""
        self._loop.call_soon_threadsafe(self._flowing.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._flowing.set)

    @contextmanager
    def ambush(self, transactional_id: str, *, passes: bool) -> Iterator[threading.Event]:
        """Go silent at the next commit of a writer; at the end of the block all connections are cut.

        Args:
            transactional_id: The writer.
            passes: Whether the broker gets the request before the silence.

        Yields:
            What is set when the commit has come.
        """
        ambush = Ambush(transactional_id, passes)
        self._ambush = ambush
        try:
            yield ambush.caught
        finally:
            self._ambush = None
            if ambush.caught.is_set():
                self.cut()
            self._loop.call_soon_threadsafe(self._flowing.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._open.add(writer)
        both = [writer]
        try:
            await self._flowing.wait()
            answers, server = await asyncio.open_connection("127.0.0.1", self._behind)
            self._open.add(server)
            both.append(server)
            requests = self._pass_requests if self._frames else self._pass_on
            ways = [
                asyncio.ensure_future(way)
                for way in (requests(reader, server), self._pass_on(answers, writer))
            ]
            done, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in left:
                way.cancel()
            await asyncio.gather(*done, *left, return_exceptions=True)
        except OSError:
            pass  # The server is not there: neither is the relay, for this client.
        finally:
            for end in both:
                self._open.discard(end)
                end.transport.abort()
            self._serving.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()

    async def _pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length = await reader.readexactly(4)
            request = await reader.readexactly(int.from_bytes(length))
            await self._flowing.wait()
            ambush = self._ambush
            if ambush is not None and ends_transaction_of(request) == ambush.transactional_id:
                self._ambush = None
                self._flowing.clear()
                if ambush.passes:
                    writer.write(length + request)
                    await writer.drain()
                ambush.caught.set()
                if ambush.passes:
                    continue
                await self._flowing.wait()
            writer.write(length + request)
            await writer.drain()


def ends_transaction_of(request: bytes) -> str | None:
    """The transactional id in a request that ends a transaction; None in any other.

    Args:
        request: A request of Kafka's protocol, without its length.
    """
    kind, version, _, client = struct.unpack_from(">hhih", request)
    if kind != END_TXN:
        return None
    # From version 3 on the header ends with tags, and lengths are varints, one more than they tell.
    begin, width = 10 + max(client, 0), (2 if version < 3 else 1)
    begin += version >= 3
    size = int.from_bytes(request[begin : begin + width]) - (version >= 3)
    return request[begin + width : begin + width + size].decode()
