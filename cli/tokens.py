"""`headrace token` and `headrace page`: who may ask the HTTP service, and how a browser gets in."""

import getpass
from datetime import datetime, timedelta
from typing import Annotated

import typer

from cli.admission import admitted_to_lake
from cli.own_token import own_token, page_link
from cli.tables import terminal, titled
from infra.blobs import open_store
from infra.errors import SettingError
from infra.settings import load_settings
from serving.token_store import AGE_S_MAX, LINK_LIFE, TokenStore
from serving.tokens import Token, made_token, new_secret, now_utc

app = typer.Typer(help="Make, list and revoke tokens of the HTTP service.", no_args_is_help=True)


def _tokens() -> TokenStore:
    return TokenStore(open_store(admitted_to_lake(load_settings())))


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="Who will hold it, in words.", show_default=False)],
    scope: Annotated[
        list[str],
        typer.Option(help="What it may do: deliver, read or operate; may be repeated.", show_default=False),
    ],
    customer: Annotated[
        str | None, typer.Option(help="The only customer that it may see.", show_default=False)
    ] = None,
    location: Annotated[
        list[str] | None,
        typer.Option(help="The only location that it may read; may be repeated.", show_default=False),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="Days until it ends; never without.", show_default=False)
    ] = None,
    requests_per_s: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Requests a second, instead of HEADRACE_HTTP__REQUESTS_PER_S.", show_default=False
        ),
    ] = None,
) -> None:
    """Make a token and print its secret, this once: nothing keeps it."""
    secret = new_secret()
    token = made_token(
        secret,
        name,
        getpass.getuser(),
        scope,
        customer_id=customer,
        location_ids=tuple(dict.fromkeys(location or ())),
        requests_per_s=requests_per_s,
        expires_at=None if days is None else now_utc() + timedelta(days=days),
    )
    _tokens().add(token)
    typer.echo(f"token {token.token_id} of {name}; its secret, which is shown this once:", err=True)
    typer.echo(secret)


@app.command("list")
def list_tokens(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that ended, and the sessions of browsers.")
    ] = False,
) -> None:
    """List the tokens: who holds each, and what it may do."""
    tokens, now, console = _tokens(), now_utc(), terminal()
    table = titled("Tokens", "id", "name", "may", "customer", "locations", "made", "ends", "state")
    for token in tokens.all():
        state = token.state(now) if tokens.is_valid(token, now) or token.state(now) != "valid" else "revoked"
        if everything or (state == "valid" and token.parent is None):
            table.add_row(*_row(token, state))
    console.print(table)


@app.command()
def revoke(
    token_id: Annotated[
        str, typer.Argument(help="Its id, as `headrace token list` shows it.", show_default=False)
    ],
) -> None:
    """End a token, and every browser's session that was opened with it."""
    token = _tokens().revoke(token_id)
    typer.echo(f"token {token.token_id} of {token.name} is revoked, everywhere within {AGE_S_MAX:g} seconds")


@app.command()
def show() -> None:
    """Print the installation's own token, which may do everything: for scripts on this machine."""
    typer.echo(own_token(load_settings(), _tokens()))


def page(
    token_id: Annotated[
        str | None,
        typer.Option("--token", help="Let it in with the rights of this token's id.", show_default=False),
    ] = None,
) -> None:
    """Print a link that lets one browser into the page, once and within ten minutes."""
    tokens, chosen = _tokens(), None
    if token_id is not None:
        valid = {token.token_id: token for token in tokens.all() if tokens.is_valid(token, now_utc())}
        chosen = valid.get(token_id)
        if chosen is None:
            raise SettingError(
                f"--token: expected the id of a valid token, found {token_id!r}; see headrace token list"
            )
    typer.echo(page_link(load_settings(), tokens, chosen))
    typer.echo(f"works once, for {LINK_LIFE.seconds // 60} minutes", err=True)


def _row(token: Token, state: str) -> tuple[str, ...]:
    name = f"{token.name} (browser)" if token.parent else token.name
    return (
        token.token_id, name, ", ".join(token.scopes), token.customer_id or "all",
        ", ".join(token.location_ids) or "all", _day(token.made_at), _day(token.expires_at) or "never", state,
    )  # fmt: skip


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
