"""``alyxfs login`` and ``logout``: a token for a server, asked for once and forgotten on demand."""

from __future__ import annotations

import click
import trio

from alyxfs import mount as mounting
from alyxfs import settings
from alyxfs.alyx.accounts import forget_token, save_token
from alyxfs.alyx.login import log_in
from alyxfs.net import open_network


@click.command()
@click.argument("server", default=settings.PUBLIC_ALYX)
@click.option("--user", prompt=True, help="User name.")
@click.option("--password", prompt=True, hide_input=True, help="Password; asked for if not given.")
def login(server: str, user: str, password: str) -> None:
    """Log in to SERVER and keep the token, not the password, for later mounts."""
    address = mounting.server_address(server)

    async def fetch() -> str:
        async with open_network() as network:
            return await log_in(network, address, user, password)

    save_token(address, user, trio.run(fetch))
    click.echo(f"Logged in to {address} as {user}; the token is kept for `alyxfs mount`.")


@click.command()
@click.argument("server", default=settings.PUBLIC_ALYX)
def logout(server: str) -> None:
    """Forget the token that `alyxfs login` kept for SERVER; a drive that is mounted keeps its own until it ends."""
    address = mounting.server_address(server)
    if forget_token(address):
        click.echo(f"The token for {address} is forgotten.")
    else:
        click.echo(f"No token for {address} was kept.")
