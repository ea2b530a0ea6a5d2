"""The demo: an account moved from one embedded server to another, in seconds, in a separate directory.

It uses the real engine over real connections. The steps are in `pipelines.demo.tour`; this module has the
directory, from which only files of an earlier demo are removed, and the account file in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from archiver.config.load import load_account
from archiver.errors import ArchiveNotWritable, ConfigError
from archiver.storage.files import make_directories, make_directory
from pipelines.demo.mail import NEW_USER, USER
from pipelines.demo.mailbox import SourceMailbox
from pipelines.demo.server import HOST, SampleServer, is_installed
from pipelines.demo.tour import Tour, Verify

MARKER = "made-by-archiver-demo.txt"
_MARKER_TEXT = """\
This directory was created by `archiver demo`. The next demo in it removes and recreates configs and archive.
"""
_OURS = (MARKER, "configs", "archive")
_OURS_IN_CONFIGS = ("demo.toml", "demo.archive", "source.password", "destination.password", "password")

_ACCOUNT_FILE = """\
# The account of the demo. A real one has tls = "implicit", which is the default, and no ports.

[source]
host = "{host}"
port = {source_port}
tls = "off"                       # only because the demo's servers are on this machine
user = "{user}"
password = {{ file = "source.password" }}  # never the password itself

[destination]                     # without this table the account is archived and not replayed
host = "{host}"
port = {destination_port}
tls = "off"
user = "{new_user}"
password = {{ file = "destination.password" }}

[archive]
path = "../archive"
"""


def run_demo(directory: Path, console: Console, verify: Verify) -> int:
    """Run the whole tour in `directory`, which is created; files of an earlier demo there are removed first.

    Returns the exit code: 0, or that of the step that failed.

    Raises:
        ConfigError: pymap is not installed, or the directory has something that no demo created.
        Interrupted: a signal was received.
    """
    if not is_installed():
        raise ConfigError(
            "archiver demo", ["its mail server, pymap, is not installed"], hint="pip install 'mail-archiver[demo]'"
        )
    clear(directory)
    with SampleServer(USER) as server, SampleServer(NEW_USER) as destination:
        source = SourceMailbox(server)
        source.fill()
        settings = load_account(_account_file(directory / "configs", server, destination))
        return Tour(settings, console, source, destination, verify).run()


def _account_file(configs: Path, source: SampleServer, destination: SampleServer) -> Path:
    """Write the account file, and the password files next to it."""
    make_directory(str(configs))
    for name, server in (("source", source), ("destination", destination)):
        password = configs / f"{name}.password"
        password.touch(mode=0o600)
        password.write_text(server.password + "\n", encoding="utf-8")
    file = configs / "demo.toml"
    ports = {"source_port": source.port, "destination_port": destination.port}
    file.write_text(_ACCOUNT_FILE.format(host=HOST, user=USER, new_user=NEW_USER, **ports), encoding="utf-8")
    return file


def clear(directory: Path) -> None:
    """Create the directory, empty except for the demo's marker.

    Raises:
        ConfigError: it is not a directory, or has something that no demo created; nothing was changed.
        ArchiveNotWritable: it cannot be created or cleared.
    """
    strange = _strange(directory)
    if strange:
        raise ConfigError(
            str(directory),
            [f"has files that no demo created: {', '.join(strange[:3])}{', …' if len(strange) > 3 else ''}"],
            hint="name an empty or new directory with --dir",
        )
    try:
        make_directories(directory)
        (directory / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
        for name in ("archive", "configs"):
            if (directory / name).is_dir():
                shutil.rmtree(directory / name)
    except OSError as error:
        raise ArchiveNotWritable(
            f"{directory}: {error.strerror}", hint="name a directory of your own with --dir"
        ) from error


def _strange(directory: Path) -> list[str]:
    """What the directory has that was not created by a demo."""
    if directory.exists() and not directory.is_dir():
        raise ConfigError(str(directory), ["is not a directory"], hint="name another one with --dir")
    present = sorted(each.name for each in directory.iterdir()) if directory.is_dir() else []
    if MARKER not in present:
        return present
    configs = directory / "configs"
    strange = [name for name in present if name not in _OURS or (directory / name).is_symlink()]
    if configs.is_dir() and not strange:
        strange = [f"configs/{each.name}" for each in configs.iterdir() if each.name not in _OURS_IN_CONFIGS]
    return strange
