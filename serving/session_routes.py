"""Sessions: how a browser is let in, who it is then, and how it leaves.

Guarantee: the secret of a session stands in a cookie that no script can read and no other site can send. It is
another than the token's, has the token's rights, ends with it, and after 12 hours at the latest.
"""

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from serving.access import COOKIE, Anyone, Caller, check_origin, check_rate, cookie, signed_in
from serving.answers import SessionAnswer, problems
from serving.problems import (
    BODY_TOO_LARGE,
    FOREIGN_ORIGIN,
    NOT_SIGNED_IN,
    SPENT_LINK,
    TOO_MANY_REQUESTS,
    UPLOAD_STALLED,
    Problem,
)
from serving.query import described_body, sent
from serving.service import Parts
from serving.token_store import SESSION_LIFE
from serving.tokens import SECRET_CHARS_MAX

router = APIRouter(tags=["Access"])

ENTRIES_PER_S = 5.0
"""Most tries to get in that one process answers in a second, whoever makes them."""


Secret = Annotated[str, Field(min_length=1, max_length=SECRET_CHARS_MAX, examples=["headrace_…"])]


class ByToken(BaseModel):
    """A session is opened by a token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Secret = Field(description="A token.")


class ByCode(BaseModel):
    """A session is opened by the code of a link."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: Secret = Field(description="What `headrace page` prints behind `#enter=`.")


ENTRY: TypeAdapter[ByToken | ByCode] = TypeAdapter(ByToken | ByCode)


def session_answer(caller: Caller) -> SessionAnswer:
    """Who is in, as the answers show it."""
    token = caller.token
    return SessionAnswer(
        token_id=token.parent or token.token_id,
        name=token.name,
        scopes=list(token.scopes),
        customer_id=token.customer_id,
        location_ids=list(caller.location_ids or ()),
        expires_at=token.expires_at,
    )


@router.post(
    "/v1/session",
    response_model=SessionAnswer,
    responses=problems(
        NOT_SIGNED_IN, FOREIGN_ORIGIN, UPLOAD_STALLED, SPENT_LINK, BODY_TOO_LARGE, TOO_MANY_REQUESTS
    ),
    openapi_extra=described_body(ENTRY),
)
async def open_session(
    request: Request,
    response: Response,
    parts: Parts,
    entry: Annotated[ByToken | ByCode, Depends(sent(ENTRY))],
) -> SessionAnswer:
    """Open a session of a browser, by a token or by the code of a link; it is kept in a cookie."""
    check_origin(request)
    check_rate(parts, "entries", ENTRIES_PER_S)
    if isinstance(entry, ByCode):
        token = await anyio.to_thread.run_sync(parts.tokens.follow_link, entry.code)
        if token is None:
            raise Problem(SPENT_LINK, "The code is not known, was used, or is older than ten minutes.")
    else:
        token = await signed_in(parts, entry.token)
    secret = await anyio.to_thread.run_sync(parts.tokens.open_session, token)
    session = parts.tokens.find(secret)
    assert session is not None
    request.state.caller = caller = Caller(session)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return session_answer(caller)


@router.get("/v1/session", response_model=SessionAnswer)
async def show_session(caller: Anyone) -> SessionAnswer:
    """Show whose token or session this is, and what it may do."""
    return session_answer(caller)


@router.delete("/v1/session", status_code=204, responses=problems(FOREIGN_ORIGIN))
async def end_session(
    request: Request, parts: Parts, session: Annotated[str | None, Depends(cookie)]
) -> Response:
    """End the session of this browser; a token stays as it is."""
    check_origin(request)
    found = parts.tokens.find(session) if session else None
    if found is not None and found.parent is not None:
        await anyio.to_thread.run_sync(parts.tokens.revoke, found.token_id)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
