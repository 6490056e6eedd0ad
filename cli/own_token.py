"""The token of the installation itself: what commands and the links into the page ask the HTTP service with."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from infra.blobs import open_store
from infra.errors import AlreadyExistsError, SettingError
from infra.settings import Settings
from serving.token_store import TokenStore
from serving.tokens import SCOPES, Token, made_token, new_secret, now_utc

NAME = "this installation"
FILE = "token"


def own_token(settings: Settings, tokens: TokenStore) -> str:
    """The secret of the installation's own token, which is made and kept where it is not yet.

    It is HEADRACE_HTTP__TOKEN, or lies in the file `token` of HEADRACE_HOME, readable by its owner only.

    Raises:
        SettingError: The one that is set has been revoked.
    """
    tokens.look()
    if settings.http.token is not None:
        secret = settings.http.token.get_secret_value()
        found = tokens.find(secret)
        if found is not None and not tokens.is_valid(found, now_utc()):
            raise SettingError(
                f"HEADRACE_HTTP__TOKEN: expected a token that is valid, found {found.token_id}, which was revoked; "
                "set another"
            )
    else:
        secret = _in_file(settings.home / FILE)
        found = tokens.find(secret)
        if found is not None and not tokens.is_valid(found, now_utc()):
            (settings.home / FILE).unlink()
            secret, found = _in_file(settings.home / FILE), None
    if found is None:
        # Another process may be doing the same at this moment.
        with contextlib.suppress(AlreadyExistsError):
            tokens.add(made_token(secret, NAME, "headrace up", SCOPES))
    return secret


def own_headers(settings: Settings) -> Mapping[str, str]:
    """The header with which a command asks the HTTP service."""
    return {"Authorization": f"Bearer {own_token(settings, TokenStore(open_store(settings)))}"}


def page_link(settings: Settings, tokens: TokenStore, token: Token | None = None) -> str:
    """An address that lets one browser in, once and soon, with the rights of a token; by default of the own one.

    The code stands behind `#`, which browsers send to nobody: it is in no log and no proxy.
    """
    if token is None:
        token = tokens.find(own_token(settings, tokens))
        assert token is not None
    return f"{settings.http_url}/#enter={tokens.make_link(token)}"


def _in_file(path: Path) -> str:
    """The secret in a file; a new one when there is no file yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # Whole under its name at once, and nobody else's: two that start together must read the same.
        scratch = path.with_name(f".{path.name}-{os.getpid()}")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(new_secret())
        try:
            os.link(scratch, path)
        finally:
            scratch.unlink()
    return path.read_text(encoding="ascii").strip()
