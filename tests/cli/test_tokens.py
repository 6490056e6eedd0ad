"""`headrace token` and what starts with tokens, without a stack."""

import stat
from pathlib import Path

import pytest

from cli.own_token import own_token, page_link
from cli.service import is_loopback, tokens_to_serve
from infra.blobs import open_store
from infra.errors import SettingError
from infra.settings import HttpSettings, Settings, load_settings
from serving.token_store import TokenStore
from serving.tokens import SCOPES, now_utc
from tests.cli.commands import headrace


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation that does not run."""
    return load_settings(home=tmp_path / "home")


def tokens_of(settings: Settings) -> TokenStore:
    return TokenStore(open_store(settings))


def test_a_token_is_made_listed_and_revoked(settings: Settings) -> None:
    asked = ("--customer", "acme", "--location", "L1", "--scope", "read", "--days", "30")
    made = headrace(settings, "token", "make", "the shop L1", *asked)
    assert made.returncode == 0, made.stdout
    secret = made.stdout.splitlines()[-1]
    tokens = tokens_of(settings)
    (token,) = tokens.all()
    assert tokens.find(secret) == token
    assert (token.customer_id, token.location_ids, token.scopes) == ("acme", ("L1",), ("read",))
    assert token.expires_at is not None
    assert headrace(settings, "token", "revoke", token.token_id).returncode == 0
    listed = headrace(settings, "token", "list", "--all").stdout
    assert token.token_id in listed
    assert "revoked" in listed
    assert secret not in listed
    tokens.look()
    assert not tokens.is_valid(tokens.all()[0], now_utc())


def test_rights_that_cannot_be_kept_apart_are_refused(settings: Settings) -> None:
    found = headrace(settings, "token", "make", "somebody", "--customer", "acme", "--scope", "operate")
    assert found.returncode == 2, found.stdout
    assert "expected a token for all customers" in found.stdout
    assert tokens_of(settings).all() == []


def test_the_installation_has_one_token_in_a_file_that_only_its_owner_reads(settings: Settings) -> None:
    tokens = tokens_of(settings)
    secret = own_token(settings, tokens)
    assert own_token(settings, tokens_of(settings)) == secret
    assert stat.S_IMODE((settings.home / "token").stat().st_mode) == 0o600
    (token,) = tokens.all()
    assert token.scopes == SCOPES
    assert headrace(settings, "token", "show").stdout.strip() == secret


def test_another_own_token_follows_one_that_was_revoked(settings: Settings) -> None:
    tokens = tokens_of(settings)
    first = own_token(settings, tokens)
    tokens.revoke(tokens.all()[0].token_id)
    second = own_token(settings, tokens)
    assert second != first
    assert tokens.find(second) is not None


def test_an_own_token_that_is_set_and_was_revoked_is_refused(settings: Settings) -> None:
    given = settings.model_copy(update={"http": HttpSettings.model_validate({"token": "x" * 40})})
    tokens = tokens_of(given)
    assert own_token(given, tokens) == "x" * 40
    tokens.revoke(tokens.all()[0].token_id)
    with pytest.raises(SettingError, match="HEADRACE_HTTP__TOKEN"):
        own_token(given, tokens)


def test_the_link_into_the_page_holds_no_token(settings: Settings) -> None:
    tokens = tokens_of(settings)
    address, _, code = page_link(settings, tokens).partition("#enter=")
    assert address == f"http://127.0.0.1:{settings.ports.http}/"
    assert code != own_token(settings, tokens)
    assert tokens.follow_link(code) is not None
    assert tokens.follow_link(code) is None


def test_beyond_this_machine_nothing_is_served_without_a_token(settings: Settings) -> None:
    reached = settings.model_copy(update={"http_host": "0.0.0.0"})
    store = open_store(reached)
    with pytest.raises(SettingError, match="headrace token make"):
        tokens_to_serve(reached, store)
    assert tokens_to_serve(settings, store).all() == []
    own_token(reached, TokenStore(store))
    assert len(tokens_to_serve(reached, store).all()) == 1


def test_the_token_that_is_set_is_one_of_the_tokens(settings: Settings) -> None:
    given = settings.model_copy(
        update={"http_host": "0.0.0.0", "http": HttpSettings.model_validate({"token": "y" * 40})}
    )
    assert tokens_to_serve(given, open_store(given)).find("y" * 40) is not None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("a.example", False),
    ],
)
def test_loopback_addresses_are_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
