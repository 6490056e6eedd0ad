"""Who asks, and whether they may: what stands before every address that tells anything.

Guarantee: an address that depends on a `Guard` is answered only to a valid token with one of its scopes,
within its rate, and only for the customer and the locations that the token is for. A cookie counts as a token,
but never for a change that a page of another site has a browser make.
"""

import math
import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import anyio.to_thread
from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security import APIKeyCookie
from fastapi.security.base import SecurityBase

from serving.problems import (
    FOREIGN_CUSTOMER,
    FOREIGN_LOCATION,
    FOREIGN_ORIGIN,
    MISSING_SCOPE,
    NOT_SIGNED_IN,
    TOO_MANY_REQUESTS,
    Kind,
    Problem,
)
from serving.service import Service, of_request
from serving.token_store import AGE_S_MAX, LOOKS_APART_S
from serving.tokens import SCOPES, SECRET_CHARS_MAX, Scope, Token, now_utc

COOKIE = "headrace"
READING = frozenset({"GET", "HEAD", "OPTIONS"})
GUARDS: tuple[Kind, ...] = (NOT_SIGNED_IN, MISSING_SCOPE, TOO_MANY_REQUESTS)
"""What every guarded address may answer."""

cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="page", description="The session of the page."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    token: Token

    @property
    def location_ids(self) -> tuple[str, ...] | None:
        """The only locations that may be read, sorted; None for all."""
        return tuple(sorted(self.token.location_ids)) or None

    def sees(self, customer_id: str) -> bool:
        """Whether anything of a customer may be told."""
        return self.token.customer_id in (None, customer_id)

    def check_customer(self, customer_id: str) -> None:
        """Refuse what is of another customer.

        Raises:
            Problem: 403.
        """
        if not self.sees(customer_id):
            raise Problem(FOREIGN_CUSTOMER, f"The token is for {self.token.customer_id}.")

    def check_location(self, location_id: str) -> None:
        """Refuse what is of another location.

        Raises:
            Problem: 403.
        """
        if self.token.location_ids and location_id not in self.token.location_ids:
            raise Problem(FOREIGN_LOCATION, f"The token is for {', '.join(self.location_ids or ())}.")


async def signed_in(parts: Service, secret: str | None) -> Token:
    """The valid token of a secret.

    Raises:
        Problem: 401.
        UnavailableError: Nobody knows which tokens there are.
    """
    if not secret:
        raise _not_signed_in("The request has no token.")
    if len(secret) > SECRET_CHARS_MAX:
        raise _not_signed_in("The token is not known.")
    if parts.tokens.age_s() > AGE_S_MAX:
        await anyio.to_thread.run_sync(parts.tokens.look, LOOKS_APART_S)
    token = parts.tokens.find(secret)
    if token is None:
        # It may have been made a moment ago, by another process.
        await anyio.to_thread.run_sync(parts.tokens.look, LOOKS_APART_S)
        token = parts.tokens.find(secret)
    if token is None:
        raise _not_signed_in("The token is not known.")
    if not parts.tokens.is_valid(token, now_utc()):
        raise _not_signed_in(f"The token {token.token_id} is no longer valid.")
    return token


def _not_signed_in(detail: str) -> Problem:
    return Problem(NOT_SIGNED_IN, detail, {"WWW-Authenticate": 'Bearer realm="headrace"'})


def check_origin(request: Request) -> None:
    """Refuse a change that a page of another site has a browser make.

    Raises:
        Problem: 403.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        # The browser's own word; it holds behind a proxy that changes Host, too.
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if foreign:
        raise Problem(FOREIGN_ORIGIN, f"The request comes from {(origin or 'another site')[:200]}.")


def check_rate(parts: Service, key: str, per_s: float) -> None:
    """Refuse a request too many.

    Raises:
        Problem: 429, with the seconds until the next one.
    """
    wait_s = parts.rates.wait_s(key, per_s, time.monotonic())
    if wait_s:
        detail = f"At most {per_s:g} requests a second are answered."
        raise Problem(TOO_MANY_REQUESTS, detail, {"Retry-After": str(math.ceil(wait_s))})


class Guard(SecurityBase):
    """What an address depends on to be answered to those alone that may ask it.

    One dependency, since FastAPI takes longer for each than the check of a token does.

    Args:
        scopes: One of them is needed.
        whole_customer: Whether it tells of all locations at once, so that a token of some may not ask.
    """

    model = HTTPBearer(description="`Authorization: Bearer TOKEN`, or the session of the page in a cookie.")
    scheme_name = "token"

    def __init__(self, *scopes: Scope, whole_customer: bool = False) -> None:
        self._scopes = scopes
        self._whole_customer = whole_customer

    async def __call__(self, request: Request) -> Caller:
        """Who asks.

        Raises:
            Problem: 401, 403 or 429.
            UnavailableError: Nobody knows which tokens there are.
        """
        parts = await of_request(request)
        if request.method not in READING:
            check_origin(request)
        token = await signed_in(parts, secret_of(request))
        found = Caller(token)
        request.state.caller = found
        check_rate(
            parts, token.parent or token.token_id, token.requests_per_s or parts.settings.http.requests_per_s
        )
        if not set(self._scopes) & set(token.scopes):
            expected = " or ".join(self._scopes)
            raise Problem(MISSING_SCOPE, f"Expected the scope {expected}, found {', '.join(token.scopes)}.")
        if self._whole_customer and token.location_ids:
            raise Problem(FOREIGN_LOCATION, "The token is for some locations; this tells of all.")
        for customer_id in request.query_params.getlist("customer_id"):
            found.check_customer(customer_id)
        for location_id in request.query_params.getlist("location_id"):
            found.check_location(location_id)
        return found


def secret_of(request: Request) -> str | None:
    """What a request has to show: the token in its header, or else the session in its cookie."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE)


Reader = Annotated[Caller, Depends(Guard("read"))]
WholeReader = Annotated[Caller, Depends(Guard("read", whole_customer=True))]
Deliverer = Annotated[Caller, Depends(Guard("deliver", whole_customer=True))]
Watcher = Annotated[Caller, Depends(Guard("deliver", "read", "operate", whole_customer=True))]
Operator = Annotated[Caller, Depends(Guard("operate"))]
Anyone = Annotated[Caller, Depends(Guard(*SCOPES))]
