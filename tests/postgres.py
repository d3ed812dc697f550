"""A PostgreSQL server of our own for tests: on a socket in a temporary folder, gone with its with-block."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


def program(name: str) -> str | None:
    """Where a program of PostgreSQL's server lies: Debian keeps them out of PATH, one folder a version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(folders)), os.environ.get("PATH", "")]))


@contextmanager
def running(*settings: str):
    """The URL of a fresh server that listens on its socket alone. settings: e.g. "fsync=off". It refuses root: as root
    the server runs as nobody."""
    as_user = {"user": "nobody"} if os.geteuid() == 0 else {}
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        data = f"{folder}/data"
        made = [program("initdb"), "-D", data, "-U", "radvqa", "-A", "trust", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd="/", **as_user)
        options = [part for setting in ("listen_addresses=", *settings) for part in ("-c", setting)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        server = subprocess.Popen([program("postgres"), "-D", data, "-k", folder, *options], **quiet, **as_user)
        asked = [program("pg_isready"), "-q", "-h", folder]
        try:
            while subprocess.run(asked, **quiet).returncode:
                assert server.poll() is None, "PostgreSQL did not start"
                time.sleep(0.05)
            yield f"postgresql+psycopg://radvqa@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # fast: it does not wait for its clients
            server.wait()
