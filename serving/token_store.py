"""Tokens in the blob store, shared by every process that serves, and what each of them knows of them.

Guarantee: a token that is made or revoked is so everywhere within `AGE_S_MAX` seconds, without a restart, and
at once in the process that did it. While the store does not answer, what was known last holds for `STALE_S_MAX`
seconds, then nobody is let in. What is kept in memory is bounded by `TOKENS_MAX`.
"""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

import orjson
from pydantic import ValidationError

from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, HeadraceError, NotFoundError, SettingError, UnavailableError
from serving.tokens import Token, digest_of, id_of, new_secret, now_utc, session_of

logger = logging.getLogger(__name__)

TOKENS = "access/tokens"
LINKS = "access/links"
POLL_S = 2.0
AGE_S_MAX = 5.0
STALE_S_MAX = 60.0
TOKENS_MAX = 10_000
LOOKS_APART_S = 1.0
"""Least time between two looks for a token that is not known: forged ones must not press the store."""

SESSION_LIFE = timedelta(hours=12)
SESSIONS_MAX = 100
"""Most sessions of one token; the oldest end when there are more."""

LINK_LIFE = timedelta(minutes=10)


class TokenStore:
    """Keeps tokens and finds them again by their secrets.

    Args:
        store: The lake, where they lie under `access/`.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._tokens: Mapping[str, Token] = {}
        self._etags: dict[str, str] = {}
        self._looked_at = self._answered_at = float("-inf")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Follow the store in a thread of its own."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._follow, name="tokens", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def find(self, secret: str) -> Token | None:
        """The token of a secret as this process knows it, valid or not; None when there is none. Does not block."""
        digest = digest_of(secret)
        token = self._tokens.get(id_of(digest))
        return token if token is not None and token.is_of(digest) else None

    def is_valid(self, token: Token, now: datetime) -> bool:
        """Whether a token, and the one that it was opened with, may be used at the moment `now`."""
        # The caller may have been given it before it was revoked.
        if self._tokens.get(token.token_id, token).state(now) != "valid":
            return False
        parent = self._tokens.get(token.parent) if token.parent else token
        return parent is not None and parent.state(now) == "valid"

    def age_s(self) -> float:
        """How old it is what this process knows, seconds."""
        return time.monotonic() - self._answered_at

    def look(self, age_s_max: float = 0.0) -> None:
        """Read what changed, unless somebody has looked within `age_s_max` seconds. Blocks on the store.

        Raises:
            UnavailableError: The store has not answered for `STALE_S_MAX` seconds.
        """
        with self._lock:
            if time.monotonic() - self._looked_at <= age_s_max:
                return
            try:
                self._read_changes()
                self._answered_at = time.monotonic()
            except UnavailableError:
                if self.age_s() > STALE_S_MAX:
                    raise
            finally:
                self._looked_at = time.monotonic()

    def all(self) -> list[Token]:
        """Every token as it stands now, the oldest first. Blocks on the store."""
        self.look()
        return sorted(self._tokens.values(), key=lambda token: (token.made_at, token.token_id))

    def add(self, token: Token) -> None:
        """Keep a token.

        Raises:
            AlreadyExistsError: It is kept already.
        """
        self._store.put_if_absent(_path(token.token_id), token.model_dump_json().encode())
        with self._lock:
            self._tokens = {**self._tokens, token.token_id: token}

    def revoke(self, token_id: str) -> Token:
        """End a token; its record stays, for the logs that name it.

        Raises:
            SettingError: There is no such token.
        """
        found = next((token for token in self.all() if token.token_id == token_id), None)
        if found is None:
            raise SettingError(
                f"token {token_id!r}: there is none of this id; `headrace token list` shows them"
            )
        if found.revoked_at is None:
            found = found.model_copy(update={"revoked_at": now_utc()})
            self._store.replace(_path(token_id), found.model_dump_json().encode())
            with self._lock:
                self._tokens = {**self._tokens, token_id: found}
        return found

    def open_session(self, token: Token) -> str:
        """Let a browser in with the rights of a token, and forget the sessions that have ended.

        Returns:
            The secret of the session.
        """
        secret, now = new_secret(), now_utc()
        session = session_of(token, secret, now, SESSION_LIFE)
        older = [one for one in self.all() if one.parent == session.parent]
        running = [one for one in older if one.state(now) == "valid"]
        kept = {one.token_id for one in running[-(SESSIONS_MAX - 1) :]}
        for one in older:
            if one.token_id not in kept:
                self._store.delete(_path(one.token_id))
        self.add(session)
        return secret

    def make_link(self, token: Token) -> str:
        """A code that opens one session with the rights of a token, once and within `LINK_LIFE`."""
        code, now = new_secret(), now_utc()
        for path in self._store.list(LINKS):
            if _expired(self._store, path, now):
                self._store.delete(path)
        link = {"token_id": token.token_id, "expires_at": now + LINK_LIFE}
        self._store.put_if_absent(f"{LINKS}/{digest_of(code)}.json", orjson.dumps(link))
        return code

    def follow_link(self, code: str) -> Token | None:
        """The token whose link has this code; None when there is none, or it was used or is too old."""
        path, now = f"{LINKS}/{digest_of(code)}.json", now_utc()
        try:
            link = orjson.loads(self._store.read(path))
            if _expired(self._store, path, now):
                return None
            # Of those that follow a link at the same time one writes this object, and the others are told.
            self._store.put_if_absent(path.removesuffix(".json") + ".used", orjson.dumps(link))
        except (NotFoundError, AlreadyExistsError):
            return None
        self.look()
        token = self._tokens.get(link["token_id"])
        return token if token is not None and self.is_valid(token, now) else None

    def _read_changes(self) -> None:
        etags = {path: stat.etag for path, stat in self._store.stats(TOKENS).items()}
        if len(etags) > TOKENS_MAX:
            logger.warning(
                "%d tokens lie in the lake, %d are used: revoke and delete some", len(etags), TOKENS_MAX
            )
            etags = dict(sorted(etags.items())[:TOKENS_MAX])
        tokens = {_id(path): self._tokens[_id(path)] for path in etags if _id(path) in self._tokens}
        for path, etag in etags.items():
            if self._etags.get(path) != etag:
                token = _read(self._store, path)
                tokens.pop(_id(path), None)
                if token is not None:
                    tokens[token.token_id] = token
        self._tokens, self._etags = tokens, etags

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self.look()
            except HeadraceError as error:
                logger.warning("tokens: %s; nobody is let in until it answers", error)


def _path(token_id: str) -> str:
    return f"{TOKENS}/{token_id}.json"


def _id(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".json")


def _read(store: BlobStore, path: str) -> Token | None:
    """A token; None when it is gone or cannot be read, which must not keep the others out."""
    try:
        token = Token.model_validate_json(store.read(path))
    except NotFoundError:
        return None
    except ValidationError as error:
        logger.warning("%s is no token and is passed over: %d errors", path, error.error_count())
        return None
    return token if token.token_id == _id(path) == id_of(token.digest) else None


def _expired(store: BlobStore, path: str, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(orjson.loads(store.read(path))["expires_at"]) <= now
    except NotFoundError:
        return False
