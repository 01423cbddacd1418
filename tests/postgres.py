"""A PostgreSQL of the tests' own, of whatever release the machine has, on loopback."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
import psycopg

from tests.last_rites import unmarked

USER = "alexnet"
# Nothing that tests write must outlive the machine; a killed server loses nothing by it.
_UNSAFE_AND_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_SETTINGS = ("max_connections=100", "shared_buffers=32MB", "unix_socket_directories=''")


def programs_folder() -> Path | None:
    """Return where initdb and pg_ctl lie, of the newest release; None: PostgreSQL is not there."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    # Debian's package puts them beside the path, a folder for each release.
    folders = Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")
    newest = max(folders, key=lambda program: int(program.parts[-3]), default=None)
    return None if newest is None else newest.parent


class Postgres:
    """A server that is started and stopped, and its databases."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self._password = secrets.token_hex(8)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._settings = (*_SETTINGS, *(() if durable else _UNSAFE_AND_FAST))

    def init(self) -> None:
        """Make the files of a new server."""
        password = self.folder / "password"
        password.write_text(self._password)
        _give(self.folder, password)
        options = (f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256")
        data = str(self.folder / "data")
        self._run("initdb", "--pgdata", data, *options, "--encoding=UTF8", "--locale=C", "-N")

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = (f"port={self._port}", "listen_addresses=127.0.0.1", *self._settings)
        options = " ".join(f"-c {setting}" for setting in settings)
        self._ctl("start", "--wait", "--log", str(self.folder / "log"), "--options", options)

    def stop(self, mode: str = "immediate") -> None:
        """Stop as a crash does, unless told to be gentler; its files stay."""
        self._ctl("stop", "--wait", "--mode", mode)

    def kill(self) -> None:
        """End it without a word, as a kernel does that is out of memory."""
        server = psutil.Process(
            int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        )
        processes = [server, *server.children()]
        # Whoever starts the others first.
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=30)

    def url(self, database: str) -> str:
        """Return the URL of a database, there or not."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database as the template is, which nobody may be connected to; return its URL."""
        self.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run a statement as the server's owner."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _ctl(self, verb: str, *options: str) -> None:
        self._run("pg_ctl", verb, "--pgdata", str(self.folder / "data"), "--silent", *options)

    def _run(self, program: str, *arguments: str) -> None:
        folder = programs_folder()
        assert folder is not None, "install PostgreSQL"
        # Output goes to a file: a server that is started keeps what it inherits open.
        with (self.folder / "output").open("ab") as output:
            done = subprocess.run(
                [folder / program, *arguments],
                cwd=self.folder,
                # `_watched` ends it, and leaves no shared memory.
                env=unmarked(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                user=_user(),
                group=None if _user() is None else pwd.getpwnam(_user() or "").pw_gid,
                extra_groups=None if _user() is None else [],
            )
        assert done.returncode == 0, (self.folder / "output").read_text()


# Begun before the server and told of nothing but its end: that of whoever would have stopped it.
_WATCH = """
cat > /dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null) && kill -QUIT "$pid"
while [ -n "$pid" ] && kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
rm -rf "$1"
"""


@contextmanager
def _watched(folder: Path) -> Iterator[None]:
    """Have a server stopped, and its folder removed, also where this process is killed."""
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "watcher", folder],
        env=unmarked(),
        stdin=subprocess.PIPE,
        # A signal to the group of this process is not for it.
        start_new_session=True,
    )
    try:
        yield
    finally:
        watcher.communicate()


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """Start a server that ends with the context or this process, and its files too.

    `durable`: it writes through to the disk, as one that is used does.
    """
    # Not below the folder of pytest, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="alexnet-postgres-"))
    with _watched(folder):
        _give(folder)
        postgres = Postgres(folder, durable=durable)
        postgres.init()
        postgres.start()
        try:
            yield postgres
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                postgres.stop()


@cache
def _user() -> str | None:
    """Return whom to run the server as, for it refuses root; None: whoever runs the tests."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _give(*paths: Path) -> None:
    if (user := _user()) is not None:
        for path in paths:
            shutil.chown(path, user)
