"""``alyxfs login``, ``logout`` and ``whoami``: a token for a server, asked for once and forgotten on demand."""

from __future__ import annotations

import click
import trio

from alyxfs import mount as mounting
from alyxfs import settings
from alyxfs.alyx.auth import log_in, plain_http_warning
from alyxfs.alyx.credentials import Account, find_account, forget_token, save_token
from alyxfs.alyx.rest import Api
from alyxfs.cli.printing import say
from alyxfs.cli.secrets import STANDARD_INPUT, secret_from
from alyxfs.errors import AccessDenied
from alyxfs.net import open_network

ASKED = "labs"
"""An endpoint that every Alyx has: one row of it tells whether a token is good."""


@click.command()
@click.argument("server", default=settings.PUBLIC_ALYX)
@click.option("--user", help="User name; asked for if neither it nor a token is given.")
@click.option("--password", help="Password; others may see it for a moment. Asked for if not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--token-file", metavar="FILE", help="Keep the token in this file (- is standard input), ask no password."
)
def login(server: str, user: str | None, password: str | None, password_stdin: bool, token_file: str | None) -> None:
    """Log in to SERVER and keep the token, not the password, for later mounts.

    An account that has no password logs in with its token alone.
    """
    address = mounting.server_address(server)
    if sum([password is not None, password_stdin, token_file is not None]) > 1:
        raise click.UsageError("Give one of --password, --password-stdin and --token-file.")
    if warning := plain_http_warning(address):
        say(f"alyxfs: {warning}", err=True)
    if token_file is not None:
        token = secret_from(token_file, "token")
        trio.run(_try, address, Account(user, token=token))
    else:
        user = user or click.prompt("User")
        if password_stdin:
            password = secret_from(STANDARD_INPUT, "password")
        token = trio.run(_exchange, address, user, password or click.prompt("Password", hide_input=True))
    save_token(address, user, token)
    say(f"Logged in to {address}{f' as {user}' if user else ''}; the token is kept for `alyxfs mount`.")


@click.command()
@click.argument("server", default=settings.PUBLIC_ALYX)
def logout(server: str) -> None:
    """Forget the token that `alyxfs login` kept for SERVER; a drive that is mounted keeps its own until it ends."""
    address = mounting.server_address(server)
    if forget_token(address):
        say(f"The token for {address} is forgotten.")
    else:
        say(f"No token for {address} was kept.")


@click.command()
@click.argument("server", default=settings.PUBLIC_ALYX)
def whoami(server: str) -> None:
    """Say as whom a mount of SERVER would ask, where that is known from, and whether the server takes it."""
    address = mounting.server_address(server)
    account = find_account(address)
    if not account.usable:
        raise AccessDenied(f"No user is known for {address}: run `alyxfs login {address}`.")
    trio.run(_try, address, account)
    who = account.user or "a token whose user is not known"
    say(f"{who} at {address}, from {account.source}; the server takes it.")


async def _exchange(address: str, user: str, password: str) -> str:
    async with open_network() as network:
        return await log_in(network, address, user, password)


async def _try(address: str, account: Account) -> None:
    """Raises AccessDenied where the server refuses the account."""
    async with open_network() as network:
        await Api(network, address, account).page(ASKED, (), 1, 0)
