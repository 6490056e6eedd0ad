"""What a token is: who holds it, what it may do, and until when.

Guarantee: nothing that is kept holds a token's secret, only its SHA-256. A secret that is made here has 256
random bits, so a fast digest is enough: there is nothing to guess. A token's id is the beginning of that
digest, and may be shown.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import SettingError
from infra.settings import CustomerId

Scope = Literal["deliver", "read", "operate"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "headrace_"
"""What every secret begins with, so that a search for leaked secrets can find it."""

SECRET_BYTES = 32
SECRET_CHARS_MAX = 200
ID_CHARS = 12


class Token(BaseModel):
    """A token as it is kept.

    Attributes:
        token_id: Names it to people and in logs.
        digest: SHA-256 of its secret, 64 hex digits.
        name: Who holds it, in the words of who made it.
        scopes: What it may do.
        customer_id: The only customer that it may see; None for all.
        location_ids: The only locations that it may read; none named means all.
        requests_per_s: Its rate limit; None for the installation's.
        made_at: When it was made, UTC.
        made_by: Who made it.
        expires_at: From when it is not valid any more; None for never.
        revoked_at: When it was revoked; None as long as it is not.
        parent: Of a page's session the token that it was opened with, without which it is not valid either.
    """

    model_config = ConfigDict(frozen=True)

    token_id: str
    digest: str
    name: str = Field(min_length=1, max_length=100)
    scopes: tuple[Scope, ...]
    customer_id: CustomerId | None = None
    location_ids: tuple[str, ...] = ()
    requests_per_s: float | None = Field(None, gt=0)
    made_at: datetime
    made_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    parent: str | None = None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        """How it stands at the moment `now`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"

    def is_of(self, digest: str) -> bool:
        """Whether `digest` is that of its secret, compared in a time that tells nothing."""
        return hmac.compare_digest(self.digest, digest)


def new_secret() -> str:
    """A secret that nobody has seen yet."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def id_of(digest: str) -> str:
    """The id of the token whose secret has this digest."""
    return digest[:ID_CHARS]


def made_token(secret: str, name: str, made_by: str, scopes: Collection[str], **more: object) -> Token:
    """A token, made now.

    Args:
        secret: Its secret.
        name: Who will hold it.
        made_by: Who makes it.
        scopes: What it may do.
        more: Further fields of it.

    Raises:
        SettingError: A field cannot be meant, or the rights could not be kept apart.
    """
    digest = digest_of(secret)
    fields = {
        "token_id": id_of(digest),
        "digest": digest,
        "name": name,
        "made_at": now_utc(),
        "made_by": made_by,
    }
    try:
        token = Token.model_validate({**fields, "scopes": tuple(dict.fromkeys(scopes)), **more})
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise SettingError(
            f"{found['loc'][0]} of a token: {found['msg']}; found {found['input']!r}"
        ) from None
    _check_rights(token)
    return token


def _check_rights(token: Token) -> None:
    if not token.scopes:
        raise SettingError(f"scopes of a token: expected some of {', '.join(SCOPES)}, found none")
    if token.customer_id is not None and "operate" in token.scopes:
        raise SettingError(
            "scope operate: expected a token for all customers, since lags and metrics are the installation's; "
            f"found one of {token.customer_id}"
        )
    if token.location_ids and token.customer_id is None:
        raise SettingError("locations of a token: expected a customer whose locations they are, found none")
    if token.location_ids and "deliver" in token.scopes:
        raise SettingError(
            "scope deliver: expected a token for all locations, since a file may hold any; leave out the locations"
        )


def session_of(token: Token, secret: str, now: datetime, life: timedelta) -> Token:
    """A token with the rights of another, for one browser and some hours."""
    ends = [now + life, *([token.expires_at] if token.expires_at is not None else [])]
    digest = digest_of(secret)
    return token.model_copy(
        update={
            "token_id": id_of(digest),
            "digest": digest,
            "made_at": now,
            "made_by": token.token_id,
            "expires_at": min(ends),
            "parent": token.parent or token.token_id,
        }
    )


def now_utc() -> datetime:
    """This moment."""
    return datetime.now(UTC)
