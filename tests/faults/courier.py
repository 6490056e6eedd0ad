"""Delivers files as a customer does who sends each again until it is answered."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from infra.blobs import open_store
from infra.errors import HeadraceError
from infra.settings import Settings
from stream_jobs.ingest.accept import Desk
from tests.faults.traffic import CUSTOMER, File

ANSWER_S_MAX = 600.0
AGAIN_S = 0.5


class Courier(threading.Thread):
    """Delivers in a thread of its own, so that deliveries and faults meet anywhere.

    Args:
        settings: The installation that is delivered to.
        say: Told of refusals.

    Attributes:
        delivered: What was delivered, by the id that was answered.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._store = open_store(settings)
        self._say = say
        self._waiting = queue.Queue[Sequence[File]](1)
        self._failure: BaseException | None = None
        self.delivered: dict[int, File] = {}
        self.start()

    def take(self, files: Sequence[File]) -> None:
        """Hand files over; waits while those of two rounds are under way."""
        self._put(files)

    def finish(self) -> None:
        """Wait until all is delivered."""
        self._put(())
        self.join(ANSWER_S_MAX)
        self._raise_failure()
        assert not self.is_alive(), f"files are not delivered within {ANSWER_S_MAX:g} s"

    def _put(self, files: Sequence[File]) -> None:
        deadline = time.monotonic() + ANSWER_S_MAX
        while True:
            self._raise_failure()
            try:
                self._waiting.put(files, timeout=1.0)
            except queue.Full:
                assert time.monotonic() < deadline, f"files are not taken within {ANSWER_S_MAX:g} s"
            else:
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        """Deliver what comes, in its order, until nothing more comes."""
        try:
            while files := self._waiting.get():
                for file in files:
                    self.delivered[self._accepted(file)] = file
        except BaseException as error:
            self._failure = error

    def _accepted(self, file: File) -> int:
        deadline = time.monotonic() + ANSWER_S_MAX
        while True:
            try:
                with (
                    closing(Desk(self._settings, self._store)) as desk,
                    file.path.open("rb") as data,
                ):
                    return desk.accept(CUSTOMER, file.content, file.path.name, data).delivery_id
            except HeadraceError as error:
                if time.monotonic() > deadline:
                    raise
                self._say(f"{file.path.name}: {str(error)[:100]}")
                time.sleep(AGAIN_S)
