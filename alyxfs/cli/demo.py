"""``alyxfs demo``: a small Alyx on this machine, to try things on."""

from __future__ import annotations

import subprocess
import sys

import click

from alyxfs import daemon, settings
from alyxfs import mount as mounting
from alyxfs.alyx.credentials import forget_secret_variables
from alyxfs.cli.drive import kept_in
from alyxfs.cli.mount_point import mount_point_at
from alyxfs.cli.printing import say
from alyxfs.demo import server as demo_server
from alyxfs.errors import ConfigurationError
from alyxfs.known import Plan


@click.command()
@click.argument("directory", required=False)
@click.option("--serve", is_flag=True, help="Only run the server, in front; what is changed is kept.")
@click.option("--port", default=0, help="Port of the server; 0 takes a free one.")
@click.option("--scale", default=1, help="How large the demo is; 20 has 60,000 datasets.")
@click.option("--rw", is_flag=True, help="Mount it writable; what is changed is forgotten at the unmount.")
def demo(directory: str | None, serve: bool, port: int, scale: int, rw: bool) -> None:
    """Run a demo Alyx (user demo, password demo) and mount it at DIRECTORY."""
    forget_secret_variables()
    if missing := demo_server.missing_packages():
        raise ConfigurationError(demo_server.sentence_about_missing(missing))
    if serve:
        sys.exit(_serve(port, scale))
    if directory is None:
        raise click.UsageError("demo takes a directory to mount at, or --serve.")
    with mount_point_at(directory, kept_in(settings.Settings())) as mount_point:
        say("Starting the demo Alyx (the first time, its data are made) ...")
        log_file = daemon.log_path(mount_point)

        def run(ready: mounting.Ready) -> None:
            try:
                with demo_server.running_demo(demo_server.default_directory(), scale=scale, port=port) as running:
                    chosen = settings.load(running.url, {"rw": rw})
                    plan = Plan(running.url, mount_point, chosen, running.user, running.password, log=log_file)
                    mounting.run(plan, ready)
            except demo_server.DemoError as error:
                raise ConfigurationError(f"{error} See {log_file}.") from error

        daemon.run_in_background(run, log_file)
        say(f"The demo Alyx is mounted at {mount_point}; help is in {mount_point}/.alyxfs/help.md.")


def _serve(port: int, scale: int) -> int:
    """Run the server in front; it ends when this process does, whatever ends it: its standard input ends then."""
    command = [sys.executable, "-m", "alyxfs.demo", "--with-parent", "--port", str(port), "--scale", str(scale)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:  # the server was told by the terminal, too
            return server.wait()
