"""A process that changes an index is killed at random, or its disk is full: nothing is torn.

After every reopening, each change that was reported as done is there once and whole; the one that
was under way is there as a whole or not at all; every checksum is right; nothing lies about.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

import fanns
from fanns.catalog import CatalogWriter
from fanns.errors import StorageError
from fanns.storage import Directory
from tests.living_helpers import Model, assert_same
from tests.living_operations import QUERY, digest, follow, rows_in, start
from tests.storage_helpers import can_mount, child, leftovers, run_child

FORKING = """
    import os, sys, tempfile
    from pathlib import Path
    import time
    from fanns import adding, background, merging
    from tests.living_operations import start, work
    def lingering(*arguments, written=merging.written):
        made = written(*arguments)
        if os.getpid() % 2:  # half of them are killed here, most likely
            time.sleep(0.3)
        return made
    if sys.argv[3]:
        adding.TAIL_ROWS = merging.SMALLEST = int(sys.argv[3])
        background.written = lingering
    with tempfile.TemporaryDirectory() as folder:  # kernels are loaded once, before the forks
        start(Path(folder) / "x")
        work(f"{folder}/x", f"{folder}/log", 0, seconds=3)
    for line in sys.stdin:
        seed = int(line)
        pid = os.fork()
        if pid == 0:
            work(sys.argv[1], sys.argv[2], seed)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)
"""


class Victims:
    """Processes that change an index until they are killed; forked, to spare the import."""

    def __init__(self, path: Path, log: Path, smallest: int | None) -> None:
        self.process = child(FORKING, path, log, smallest or "")

    def kill_one(self, seed: int, seconds: float) -> None:
        """Lets one work for some time."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        assert self.process.stdout.readline() == "ended\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.communicate()


def settle(index: fanns.Index, model: Model, log: Path) -> tuple[Model, int]:
    """The model of what the log says and the index holds, and how many changes were done."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    done = 0
    while len(lines) > done * 2 + 1:
        operation, told = lines[2 * done : 2 * done + 2]
        assert told == "done"
        model, done = follow(model, operation), done + 1
    found = digest(rows_in(index))
    if found != digest(list(model.rows.values())):
        assert len(lines) == 2 * done + 1, "a change that was done is lost, or one came unasked"
        model = follow(model, lines[-1])
        assert found == digest(list(model.rows.values())), f"in part: {lines[-1]}"
    return model, done


def check_killed(
    path: Path, kills: int, seed: int, smallest: int | None = None, cuts: int = 0
) -> None:
    """Kill so many, and more until `cuts` of them left a merged segment that was not committed and
    as many changes were done: on a busy machine few are in so short a life.

    `smallest` rows make a segment that is merged in the background; None: as they are.
    """
    log = path.with_name("log")
    model = start(path)
    rng = random.Random(seed)
    total = cut = 0
    with Victims(path, log, smallest) as victims:
        for number in count():
            if number >= kills and cut >= cuts and total > kills:
                break
            assert number < kills + 200, f"{cut} merges were cut, {total} changes were done"
            victims.kill_one(rng.randrange(2**31), rng.uniform(0.02, 0.4))
            with fanns.open(path, check=True) as index:
                cut += len(list(path.glob("segment-*"))) > len(index.info()["segments"])
                model, done = settle(index, model, log)
                total += done
                if number % 10 == 0:
                    assert_same(index, model, QUERY)
                    assert index.verify() == []
    with Directory.open(path, "w", check=True) as directory:
        named = {segment.id: set(segment.file_names) for segment in directory.segments}
    for number, files in named.items():
        folder = path / f"segment-{number:06d}"
        assert {entry.name for entry in folder.iterdir()} == files
    assert len(list(path.glob("segment-*"))) == len(named)
    with fanns.open(path, mode="w", check=True) as index:
        assert_same(index, model, QUERY)
        index.compact(erase=True)
        assert_same(index, model, QUERY)


@pytest.mark.skipif(sys.platform == "win32", reason="fork, SIGKILL")
def test_killed_while_changing(tmp_path: Path) -> None:
    check_killed(tmp_path / "x", kills=8, seed=1)


@pytest.mark.skipif(sys.platform == "win32", reason="fork, SIGKILL")
def test_killed_while_merging(tmp_path: Path) -> None:
    """Batches of eight rows stay segments, so that there is always something to merge."""
    check_killed(tmp_path / "x", kills=10, seed=4, smallest=8, cuts=1)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "smallest"), [(2, None), (3, None), (5, 8)])
def test_killed_often(tmp_path: Path, seed: int, smallest: int | None) -> None:
    check_killed(tmp_path / "x", 120, seed, smallest, cuts=10 if smallest else 0)


FULL = """
    import random, resource, subprocess, sys
    from pathlib import Path
    import fanns
    from fanns.errors import StorageError
    from tests.living_helpers import assert_same
    from tests.living_operations import QUERY, draw, follow, perform, start
    mode, folder, tries = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if mode == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "none", folder], check=True)
    path, rng, ballast = folder / "x", random.Random(5), folder / "ballast"
    model = start(path)
    index = fanns.open(path, mode="w")
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    failed = done = 0
    for number in range(tries):
        room = rng.choice([3_000, 20_000, 60_000, 150_000, 400_000])
        if mode == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
        else:
            free = int(subprocess.check_output(["stat", "-f", "-c", "%a", folder])) * 4096
            ballast.write_bytes(bytes(max(0, free - room)))
        for _ in range(4):
            operation = draw(rng, index, big=150)
            try:
                perform(index, operation)
            except StorageError as error:
                failed += 1
                assert str(folder) in str(error), error
            else:
                model, done = follow(model, operation), done + 1
            if number % 5 == 0:
                assert_same(index, model, QUERY)
        if mode == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        else:
            ballast.unlink()
        if number % 3 == 0:
            index.close()
            index = fanns.open(path, mode="w", check=True)
            assert_same(index, model, QUERY)
    index.close()
    with fanns.open(path, check=True) as index:
        assert_same(index, model, QUERY)
        assert index.verify() == []
    print(failed, done)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE")
def test_limit_on_the_size_of_files(tmp_path: Path) -> None:
    failed, done = map(int, run_child(FULL, "limit", tmp_path, 15).split())
    assert failed >= 10 and done >= 10
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not can_mount(), reason="mounting a small file system is not allowed here")
def test_full_disk(tmp_path: Path) -> None:
    output = run_child(FULL, "tmpfs", tmp_path, 15, prefix=("unshare", "-rm"))
    failed, done = map(int, output.split())
    assert failed >= 5 and done >= 10


def test_interrupted_after_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the commit and its return: the index goes on from what is on disk."""
    model = start(tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w") as index:
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(Directory, "_clear", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    index.delete(where="year = 3")
            model.delete(lambda row: row["year"] == 3)
            assert_same(index, model, QUERY)
            index.update(set={"year": 3}, where="year = 4")
            model.update(lambda row: row["year"] == 4, {"year": 3})
    with fanns.open(tmp_path / "x", check=True) as index:
        assert_same(index, model, QUERY)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_commit_that_nobody_can_tell_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It became durable, but the system reported an error: nothing is removed, opening tells."""
    model = start(tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w") as index:
        commit = CatalogWriter.commit

        def fail(self: CatalogWriter, *arguments: Any) -> None:
            commit(self, *arguments)
            raise StorageError("the disk went away")

        with monkeypatch.context() as patch:
            patch.setattr(CatalogWriter, "commit", fail)
            with pytest.raises(StorageError, match="the disk went away"):
                index.delete(where="year = 3")
        with pytest.raises(StorageError, match="not open for writing"):
            index.delete(where="year = 4")
    model.delete(lambda row: row["year"] == 3)
    with fanns.open(tmp_path / "x", mode="w", check=True) as index:
        assert_same(index, model, QUERY)
