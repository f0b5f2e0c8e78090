"""``alyxfs demo``: a small Alyx on this machine, to try things on."""

from __future__ import annotations

from pathlib import Path

import click
import platformdirs

from alyxfs import daemon, settings
from alyxfs import mount as mounting
from alyxfs.cli.drive import prepared_mount_point
from alyxfs.demo import server as demo_server


@click.command()
@click.argument("directory", required=False)
@click.option("--serve", is_flag=True, help="Only run the server, in front.")
@click.option("--port", default=0, help="Port of the server; 0 takes a free one.")
@click.option("--scale", default=1, help="How large the demo is; 20 has 60,000 datasets.")
def demo(directory: str | None, serve: bool, port: int, scale: int) -> None:
    """Run a demo Alyx (user demo, password demo) and mount it at DIRECTORY."""
    place = Path(platformdirs.user_cache_dir("alyxfs")) / "demo"
    if serve:
        demo_server.serve_in_front(place, scale=scale, port=port)
        return
    if directory is None:
        raise click.UsageError("demo takes a directory to mount at, or --serve.")
    mount_point = prepared_mount_point(directory)
    click.echo("Starting the demo Alyx (the first time, its data are made) ...")

    def run(ready: mounting.Ready) -> None:
        with demo_server.running_demo(place, scale=scale, port=port) as running:
            plan = mounting.Plan(
                running.url, mount_point, settings.load(running.url, {}), user=running.user, password=running.password
            )
            mounting.run(plan, ready)

    daemon.run_in_background(run, daemon.log_path(mount_point))
    click.echo(f"The demo Alyx is mounted at {mount_point}; help is in {mount_point}/.alyxfs/help.md.")
