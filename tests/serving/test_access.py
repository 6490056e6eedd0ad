"""Tokens: what each may do, what it never sees, and how it ends."""

import json
import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from infra.errors import SettingError
from infra.settings import Settings
from serving.access import COOKIE
from serving.app import create_app
from serving.token_store import TokenStore
from serving.tokens import SCOPES, digest_of, id_of, made_token, now_utc
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream, header_of_new
from tests.serving.test_problems import assert_problem

C = content.CUSTOMER
OTHER = "other-shops"
OPEN = {"/healthz", "/readyz", "/v1/session"}
"""Addresses that ask for no token, or are the way to get one in."""

VALUES = {
    "customer_id": C,
    "location_id": "berlin-1",
    "product_id": "milk-1l",
    "name": "sales.csv",
    "seconds": "0",
}
BODIES = {
    "/v1/forecasts/series": orjson.dumps(
        {"customer_id": C, "series": [{"location_id": "berlin-1", "product_id": "milk-1l"}]}
    )
}


@pytest.fixture
def outside(app: FastAPI) -> TestClient:
    """A client without a token."""
    return TestClient(app)


def header_of(
    tokens: TokenStore, customer_id: str | None = C, *scopes: Any, **more: object
) -> dict[str, str]:
    return header_of_new(tokens, *(scopes or ("deliver", "read")), customer_id=customer_id, **more)


def id_in(header: Mapping[str, str]) -> str:
    return id_of(digest_of(header["Authorization"].removeprefix("Bearer ")))


def ask_each(client: TestClient, headers: Mapping[str, str]) -> dict[tuple[str, str], Response]:
    """Every operation of the reference, asked for what belongs to the customer `C`."""
    client.cookies.clear()
    answers = {}
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            names = {one["name"]: one["in"] for one in operation.get("parameters", [])}
            query = {
                name: VALUES[name] for name, place in names.items() if place == "query" and name in VALUES
            }
            address = path.replace("{delivery_id}", "5").replace("{run_id}", "current")
            assert "{" not in address, "name a value for the new parameter of the path"
            body = BODIES.get(path, b"sale_id\n") if method == "post" else None
            answers[method, path] = client.request(
                method, address, params=query, content=body, headers=headers
            )
    return answers


def test_without_a_token_nothing_is_told(outside: TestClient) -> None:
    answers = ask_each(outside, {})
    assert len(answers) > 12
    for (method, path), answer in answers.items():
        if path not in OPEN:
            assert_problem(answer, 401, "not-signed-in")
            assert answer.headers["www-authenticate"].startswith("Bearer"), (method, path)


@pytest.mark.parametrize("scopes", [("deliver",), ("read",), ("deliver", "read")])
def test_the_token_of_another_customer_sees_nothing_of_this_one(
    outside: TestClient, tokens: TokenStore, stream: MemoryStream, scopes: tuple[Any, ...]
) -> None:
    stream.add(5, C, state="done", name="secret-of-corner-shops.csv", records=3, by_code={"bad_price": 1})
    before = dict(stream.kept)
    for (method, path), answer in ask_each(outside, header_of(tokens, OTHER, *scopes)).items():
        if path in {"/healthz", "/readyz", "/v1/session"}:
            continue
        if path == "/v1/customers":
            assert answer.json() == {"customers": [OTHER]}
            continue
        assert answer.status_code in (403, 404), (method, path, answer.text)
        for word in (C, "secret", "berlin", "milk"):
            assert word not in answer.json()["detail"], (method, path)
    assert stream.kept == before


def test_a_delivery_of_another_customer_is_answered_as_if_there_were_none(
    outside: TestClient, tokens: TokenStore, stream: MemoryStream
) -> None:
    stream.add(5, C, state="done")
    header = header_of(tokens, OTHER)
    for tail in ("", "/errors"):
        found = outside.get(f"/v1/deliveries/5{tail}", headers=header).json()
        missing = outside.get(f"/v1/deliveries/6{tail}", headers=header).json()
        assert {**found, "detail": "", "instance": ""} == {**missing, "detail": "", "instance": ""}
        assert found["detail"] == missing["detail"].replace("6", "5")


def test_its_own_customer_a_token_may_ask_and_deliver_for(
    outside: TestClient, tokens: TokenStore, stream: MemoryStream
) -> None:
    stream.add(5, C, state="done")
    refused = {
        key: answer.status_code
        for key, answer in ask_each(outside, header_of(tokens)).items()
        if answer.status_code >= 400 and key[1] not in OPEN
    }
    assert refused == {("get", "/v1/lags"): 403, ("get", "/metrics"): 403}


@pytest.mark.parametrize(
    ("scope", "address", "status"),
    [
        ("read", f"/v1/forecasts?customer_id={C}", 200),
        ("deliver", f"/v1/forecasts?customer_id={C}", 403),
        ("operate", f"/v1/forecasts?customer_id={C}", 403),
        ("operate", "/v1/lags", 200),
        ("read", "/v1/lags", 403),
        ("deliver", f"/v1/deliveries?customer_id={C}", 200),
    ],
)
def test_a_token_may_do_what_its_scope_says(
    outside: TestClient, tokens: TokenStore, scope: Any, address: str, status: int
) -> None:
    answer = outside.get(address, headers=header_of(tokens, None, scope))
    assert answer.status_code == status
    if status == 403:
        assert_problem(answer, 403, "missing-scope")


def test_who_may_only_read_cannot_deliver(outside: TestClient, tokens: TokenStore) -> None:
    address = f"/v1/deliveries?customer_id={C}&name=sales.csv"
    answer = outside.post(address, content=b"x", headers=header_of(tokens, C, "read"))
    assert_problem(answer, 403, "missing-scope")


def test_a_token_of_one_location_reads_no_other(outside: TestClient, tokens: TokenStore) -> None:
    header = header_of(tokens, C, "read", location_ids=("berlin-1",))
    query: dict[str, str] = {"customer_id": C, "limit": "100000"}
    for address, name in (
        ("/v1/forecasts", "forecasts"),
        ("/v1/locations", "locations"),
        ("/v1/sales/windows", "windows"),
    ):
        rows = outside.get(address, params=query, headers=header).json()[name]
        assert {row["location_id"] for row in rows} == {"berlin-1"}, address
    series = {"customer_id": C, "location_id": "berlin-2", "product_id": "milk-1l"}
    for address in ("/v1/forecasts", "/v1/history", "/v1/sales/windows"):
        assert_problem(outside.get(address, params=series, headers=header), 403, "foreign-location")
    assert_problem(outside.get("/v1/deliveries", params=query, headers=header), 403, "foreign-location")


def test_what_a_token_may_see_is_part_of_the_entity_tag(outside: TestClient, tokens: TokenStore) -> None:
    whole, part = header_of(tokens), header_of(tokens, C, "read", location_ids=("berlin-1",))
    tags = [
        outside.get("/v1/forecasts", params={"customer_id": C}, headers=one).headers["etag"]
        for one in (whole, part)
    ]
    assert tags[0] != tags[1]


def test_a_revoked_token_is_refused_at_once_and_by_other_processes_within_seconds(
    app: FastAPI,
    settings: Settings,
    filled: BlobStore,
    store: BlobStore,
    stream: MemoryStream,
    tokens: TokenStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.token_store.POLL_S", 0.05)
    elsewhere = create_app(
        settings, filled, stream, stream, stream, stream, stream, stream, TokenStore(store)
    )
    header = header_of(tokens)
    with TestClient(app, headers=header) as first, TestClient(elsewhere, headers=header) as second:
        assert [one.get("/v1/customers").status_code for one in (first, second)] == [200, 200]
        tokens.revoke(id_in(header))
        assert "no longer valid" in assert_problem(first.get("/v1/customers"), 401, "not-signed-in").detail
        statuses = [second.get("/v1/customers").status_code for _ in range(200)]
        assert statuses[-1] == 401


def test_a_token_that_has_ended_is_refused(outside: TestClient, tokens: TokenStore) -> None:
    header = header_of(tokens, expires_at=now_utc() - timedelta(seconds=1))
    assert_problem(outside.get("/v1/customers", headers=header), 401, "not-signed-in")


@pytest.mark.parametrize(
    "header", [b"Bearer forged", b"Bearer ", b"Basic abc", b"Bearer " + b"x" * 5000, b"Bearer \xff\xfe"]
)
def test_what_is_no_token_is_refused(outside: TestClient, tokens: TokenStore, header: bytes) -> None:
    header_of(tokens)
    answer = outside.get("/v1/customers", headers=[(b"Authorization", header)])
    assert_problem(answer, 401, "not-signed-in")


def test_each_token_has_a_rate_of_its_own(outside: TestClient, tokens: TokenStore) -> None:
    slow, quick = header_of(tokens, requests_per_s=2), header_of(tokens)
    answers = [outside.get("/v1/customers", headers=slow) for _ in range(4)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert_problem(answers[-1], 429, "too-many-requests")
    assert int(answers[-1].headers["retry-after"]) == 1
    assert outside.get("/v1/customers", headers=quick).status_code == 200


def test_no_secret_lies_in_the_store_and_none_is_logged(
    client: TestClient,
    headers: Mapping[str, str],
    store: BlobStore,
    tokens: TokenStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    secret = headers["Authorization"].removeprefix("Bearer ")
    client.get("/v1/forecasts", params={"customer_id": C})
    client.post("/v1/session", json={"token": secret})
    session = client.cookies[COOKIE]
    code = tokens.make_link(tokens.all()[0])
    client.post("/v1/session", json={"code": code})
    kept = b"".join(store.read(path) for path in store.list("access"))
    for hidden in (secret, session, code):
        assert hidden.encode() not in kept
        assert hidden not in caplog.text


def test_the_audit_log_says_who_asked_what_and_how_it_was_answered(
    client: TestClient, outside: TestClient, headers: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headrace.audit")
    client.get("/v1/forecasts", params={"customer_id": C, "product_id": "milk-1l"})
    client.get("/healthz")
    outside.get("/v1/lags")
    lines = [json.loads(one.message) for one in caplog.records if one.name == "headrace.audit"]
    told = [(one["who"], one["method"], one["path"], one["customer_id"], one["status"]) for one in lines]
    assert told == [
        (id_in(headers), "GET", "/v1/forecasts", C, 200),
        (None, "GET", "/v1/lags", None, 401),
    ]


def test_a_link_lets_one_browser_in_once(app: FastAPI, tokens: TokenStore) -> None:
    header = header_of(tokens)
    owner = next(token for token in tokens.all() if token.token_id == id_in(header))
    code = tokens.make_link(owner)
    browser, late = TestClient(app), TestClient(app)
    entered = browser.post("/v1/session", json={"code": code})
    assert entered.status_code == 200
    assert entered.json()["token_id"] == owner.token_id
    assert re.search(
        r"headrace=\S+; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", entered.headers["set-cookie"]
    )
    assert browser.get("/v1/forecasts", params={"customer_id": C}).status_code == 200
    assert_problem(late.post("/v1/session", json={"code": code}), 410, "spent-link")
    assert_problem(late.get("/v1/customers"), 401, "not-signed-in")


def test_a_link_ends_after_its_time(
    outside: TestClient, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    header_of(tokens)
    monkeypatch.setattr("serving.token_store.LINK_LIFE", timedelta(seconds=-1))
    code = tokens.make_link(tokens.all()[0])
    assert_problem(outside.post("/v1/session", json={"code": code}), 410, "spent-link")


def test_a_session_ends_with_its_token_and_when_its_browser_leaves(app: FastAPI, tokens: TokenStore) -> None:
    header = header_of(tokens)
    secret = header["Authorization"].removeprefix("Bearer ")
    leaving, staying = TestClient(app), TestClient(app)
    for browser in (leaving, staying):
        assert browser.post("/v1/session", json={"token": secret}).status_code == 200
    again = TestClient(app, cookies=dict(leaving.cookies))
    assert leaving.delete("/v1/session").status_code == 204
    assert again.get("/v1/customers").status_code == 401
    assert staying.get("/v1/customers").status_code == 200
    tokens.revoke(id_in(header))
    assert staying.get("/v1/customers").status_code == 401


def test_a_cookie_does_not_count_for_a_page_of_another_site(app: FastAPI, tokens: TokenStore) -> None:
    browser = TestClient(app)
    secret = header_of(tokens)["Authorization"].removeprefix("Bearer ")
    browser.post("/v1/session", json={"token": secret})
    address = f"/v1/deliveries?customer_id={C}&name=sales.csv"
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert_problem(browser.post(address, content=b"x", headers=foreign), 403, "foreign-origin")
    assert_problem(browser.delete("/v1/session", headers=foreign), 403, "foreign-origin")
    assert browser.post(address, content=b"x").status_code == 202


def test_sessions_of_a_token_are_bounded(
    store: BlobStore, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.token_store.SESSIONS_MAX", 3)
    header_of(tokens)
    (owner,) = tokens.all()
    secrets = [tokens.open_session(owner) for _ in range(5)]
    tokens.look()
    assert [tokens.find(secret) is not None for secret in secrets] == [False, False, True, True, True]
    assert len(store.list("access/tokens")) == 4


def test_a_broken_record_keeps_nobody_else_out(store: BlobStore, tokens: TokenStore) -> None:
    header_of(tokens)
    store.put_if_absent("access/tokens/0123456789ab.json", b"{")
    fresh = TokenStore(store)
    assert len(fresh.all()) == 1


def test_a_record_under_the_name_of_another_is_no_token(store: BlobStore, tokens: TokenStore) -> None:
    header_of_new(tokens, *SCOPES)
    (path,) = store.list("access/tokens")
    store.copy(path, "access/tokens/0123456789ab.json")
    assert len(TokenStore(store).all()) == 1


@pytest.mark.parametrize(
    ("scopes", "more", "words"),
    [
        (("operate",), {"customer_id": C}, "all customers"),
        (("read",), {"location_ids": ("berlin-1",)}, "expected a customer"),
        (("deliver",), {"customer_id": C, "location_ids": ("berlin-1",)}, "a file may hold any"),
        (("read",), {"customer_id": "NOT ONE"}, "customer_id of a token"),
        (("write",), {}, "scopes of a token"),
        ((), {}, "expected some of deliver, read, operate"),
    ],
)
def test_rights_that_cannot_be_meant_are_refused(
    scopes: tuple[str, ...], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        made_token("x" * 40, "somebody", "a test", scopes, **more)
