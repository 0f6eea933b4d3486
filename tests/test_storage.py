"""Storage: what is written comes back, atomically, beside other readers and writers."""

import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fanns import catalog, files
from fanns.errors import (
    IndexExistsError,
    IndexLockedError,
    InputError,
    NotAnIndexError,
    StorageError,
)
from fanns.storage import Directory
from tests.storage_helpers import (
    BULK,
    assert_is_sample,
    can_mount,
    child,
    leftovers,
    make_index,
    run_child,
    sample_arrays,
    sample_tables,
)

DTYPES = ["?", "i1", "u1", "<i2", ">i4", "<u4", "<i8", ">u8", "<f2", "<f4", ">f8"]


@settings(max_examples=30)
@given(data=st.data())
def test_arrays_come_back(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7)
    array = hnp.arrays(st.sampled_from(DTYPES), shapes)
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
    arrays = data.draw(st.dictionaries(names, array, max_size=6))
    bulk = {name for name in arrays if data.draw(st.booleans())}
    path = tmp_path_factory.mktemp("round") / "x.fanns"
    with Directory.create(path) as directory:
        directory.add_segment({}, arrays, {}, bulk)
        directory.commit_new()
    with Directory.open(path, check=True) as directory:
        (segment,) = directory.segments
        assert segment.names() == sorted(arrays)
        for name, expected in arrays.items():
            found = segment.array(name)
            assert type(found) is np.ndarray
            assert found.flags.c_contiguous and found.flags.aligned and not found.flags.writeable
            assert found.dtype == expected.dtype.newbyteorder("<")
            np.testing.assert_array_equal(found, expected)
            if found.size:
                assert found.ctypes.data % 64 == 0


def test_strided_input_is_stored_contiguous(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int32).reshape(6, 10).T[::2]
    with Directory.create(tmp_path / "x.fanns") as directory:
        directory.add_segment({}, {"a/x": array}, {}, [])
        np.testing.assert_array_equal(directory.segments[0].array("a/x"), array)


def test_tables_come_back_in_place(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["eins", None, "drei"] * 5),
            "tags": pa.array([["a", None], None, []] * 5),
            "kind": pa.array(["x", "y", None] * 5).dictionary_encode(),
            "day": pa.array([1, None, 3] * 5, pa.date32()),
        }
    )
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7)])
    with Directory.create(tmp_path / "x.fanns") as directory:
        directory.add_segment({}, {}, {"Stored columns": chunked, "none": table.slice(0, 0)}, [])
        directory.commit_new()
    with Directory.open(tmp_path / "x.fanns") as directory:
        before = pa.total_allocated_bytes()
        found = directory.segments[0].table("Stored columns")
        assert found.equals(table)
        assert pa.total_allocated_bytes() - before < 1000
        assert directory.segments[0].table("none").num_rows == 0


def test_segments_settings_and_sizes(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    with Directory.open(path, "w") as directory:
        assert directory.segments[0].meta == {"rows": 40}
        number = directory.add_segment({"rows": 3}, {"a/x": np.arange(3)}, {}, [], {"seed": 8})
        directory.set_settings({"seed": 9, "name": "\N{SNOWMAN}\ud800"})
    with Directory.open(path) as directory:
        assert directory.settings == {"seed": 9, "name": "\N{SNOWMAN}\ud800"}
        assert [segment.id for segment in directory.segments] == [1, number]
        first, second = directory.segments
        assert second.nbytes("a/x") == second.nbytes("a") == second.nbytes() == 24
        assert first.nbytes("vectors") == 40 * 8 * 4 + 40 * 8
        on_disk = sum(p.stat().st_size for p in (path / "segment-000001").iterdir())
        assert first.nbytes() == on_disk


def test_misuse_is_named(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    with Directory.open(path) as directory:
        segment = directory.segments[0]
        with pytest.raises(KeyError, match="no array 'nothing'"):
            segment.array("nothing")
        with pytest.raises(KeyError, match="no table 'graph/links'"):
            segment.table("graph/links")
        with pytest.raises(StorageError, match="mode='w'"):
            directory.set_settings({})
        with pytest.raises(TypeError):
            pickle.dumps(directory)
    with pytest.raises(StorageError, match="closed"):
        segment.array("graph/links")
    with pytest.raises(InputError, match="mode"):
        Directory.open(path, "a")  # type: ignore[arg-type]
    with Directory.open(path, "w") as directory, pytest.raises(StorageError, match="commit_new"):
        directory.commit_new()


@pytest.mark.parametrize("dtype", [object, "U5", "S5", "c16", "M8[s]", [("a", "i4")]])
def test_only_plain_arrays_are_stored(tmp_path: Path, dtype: Any) -> None:
    path = make_index(tmp_path / "x.fanns")
    with Directory.open(path, "w") as directory:
        with pytest.raises(InputError, match="'bad'"):
            directory.add_segment({}, {"good": np.arange(3), "bad": np.empty(3, dtype)}, {}, [])
        with pytest.raises(InputError, match="'both'"):
            directory.add_segment({}, {"both": np.arange(3)}, {"both": pa.table({})}, [])
    assert sorted(p.name for p in path.glob("segment-*")) == ["segment-000001"]
    assert_is_sample(path)


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    path = tmp_path / "x.fanns"
    with Directory.create(path) as directory:
        directory.add_segment({}, sample_arrays(), {}, [])
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []
    directory = Directory.create(path)
    del directory  # forgotten, not closed
    assert list(tmp_path.iterdir()) == []


def test_create_refuses_a_taken_path(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    with pytest.raises(IndexExistsError, match="overwrite=True"):
        Directory.create(path)
    foreign = tmp_path / "holiday"
    foreign.mkdir()
    (foreign / "photo.jpg").write_bytes(b"x")
    with pytest.raises(IndexExistsError):
        Directory.create(foreign)
    for target in (foreign, foreign / "photo.jpg"):
        with pytest.raises(NotAnIndexError, match="not overwritten"):
            Directory.create(target, overwrite=True)
    assert (foreign / "photo.jpg").read_bytes() == b"x"
    assert_is_sample(path)


def test_an_empty_directory_may_be_filled(tmp_path: Path) -> None:
    path = tmp_path / "x.fanns"
    path.mkdir()
    make_index(path)
    assert_is_sample(path)


def test_taken_while_it_was_built(tmp_path: Path) -> None:
    path = tmp_path / "x.fanns"
    with Directory.create(path) as directory:
        make_index(path)
        with pytest.raises(IndexExistsError):
            directory.commit_new()
    assert_is_sample(path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("swap", [True, False], ids=["exchange", "two renames"])
def test_overwrite(tmp_path: Path, swap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not swap:
        monkeypatch.setattr(files, "exchange", lambda first, second: False)
    path = tmp_path / "x.fanns"
    with Directory.create(path) as directory:
        directory.add_segment({}, {"old/a": np.arange(5)}, {}, [])
        directory.commit_new()
    reader = Directory.open(path)
    make_index(path, overwrite=True)
    assert_is_sample(path)
    np.testing.assert_array_equal(reader.segments[0].array("old/a"), np.arange(5))
    reader.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.fanns"]


def test_overwrite_waits_for_no_writer(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    with (
        Directory.open(path, "w"),
        Directory.create(path, overwrite=True) as directory,
        pytest.raises(IndexLockedError, match=str(os.getpid())),
    ):
        directory.commit_new()
    assert_is_sample(path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("steps", [True, False], ids=["resume", "create"])
def test_no_other_writer_while_an_index_gets_its_name(
    tmp_path: Path, steps: bool, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.fanns"
    if overwrite:
        make_index(path)
    install, refused = files.install, []

    def installed(temporary: Path, target: Path) -> Path | None:
        def refuse(*places: Path) -> None:
            for place in places:
                with pytest.raises(IndexLockedError, match=str(os.getpid())):
                    files.WriterLock(place).acquire()
                refused.append(place)

        refuse(temporary, *[target] * overwrite)
        with pytest.raises(IndexLockedError):
            if steps:
                Directory.resume(path, overwrite=overwrite)
            else:
                files.WriterLock(temporary).acquire()
        old = install(temporary, target)
        refuse(target, *([old] if old else []))
        return old

    monkeypatch.setattr(files, "install", installed)
    make = Directory.resume if steps else Directory.create
    with make(path, overwrite=overwrite) as directory:
        directory.add_segment({"rows": 40}, sample_arrays(), sample_tables(), BULK, {"seed": 7})
        directory.commit_new()
        assert len(refused) == (4 if overwrite else 2)
        Directory.open(path, "w").close()  # the lock is given back at once
    assert_is_sample(path)
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exchanges directories")
def test_a_writer_that_waited_has_the_lock_of_the_index_that_is_there(tmp_path: Path) -> None:
    path, other = make_index(tmp_path / "x.fanns"), make_index(tmp_path / "y.fanns")
    lock = files.WriterLock(path)
    take = lock._take
    taken: list[float] = []

    def late(wait: float) -> None:
        take(wait)
        if not taken:  # the file was opened, and another index takes the name
            assert files.exchange(path, other)
        taken.append(wait)

    lock._take = late  # type: ignore[method-assign]
    lock.acquire()
    assert len(taken) == 2
    with pytest.raises(IndexLockedError):
        Directory.open(path, "w")
    Directory.open(other, "w").close()
    lock.release()
    Directory.open(path, "w").close()


def test_one_writer_in_this_and_other_processes(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    script = """
        import sys, time
        from fanns.storage import Directory
        directory = Directory.open(sys.argv[1], "w")
        print("ready", flush=True)
        time.sleep(60)
    """
    process = child(script, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(IndexLockedError, match=f"process {process.pid}"):
        Directory.open(path, "w")
    Directory.open(path).close()
    process.kill()
    process.communicate()
    with Directory.open(path, "w"), pytest.raises(IndexLockedError, match=f"{os.getpid()}"):
        Directory.open(path, "w")
    assert_is_sample(path)


def test_readers_keep_their_state_beside_a_writer(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    early = Directory.open(path)
    problems: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            seen = 0
            while not done.is_set():
                with Directory.open(path) as directory:
                    assert len(directory.segments) == directory.settings.get("n", 1) >= seen
                    seen = len(directory.segments)
                    for segment in directory.segments[1:]:
                        assert (segment.array("a/x") == segment.meta["n"]).all()
        except BaseException as cause:
            problems.append(cause)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        with Directory.open(path, "w") as directory:
            for _ in range(6):
                n = len(directory.segments) + 1
                directory.add_segment({"n": n}, {"a/x": np.full(99, n)}, {}, [], {"n": n})
    done.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(early.segments) == 1
    shutil.rmtree(path)
    np.testing.assert_array_equal(
        early.segments[0].array("graph/links"), sample_arrays()["graph/links"]
    )
    early.close()


def test_orphans_are_ignored_and_cleaned_by_the_writer(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    orphan = path / "segment-000002"
    orphan.mkdir()
    (orphan / "graph.bin").write_bytes(b"half")
    assert_is_sample(path)
    assert orphan.exists()
    with Directory.open(path, "w") as directory:
        assert not orphan.exists()
        assert directory.add_segment({}, {}, {}, []) == 2


FORKING = """
    import os, sys
    import numpy as np
    from fanns.storage import Directory

    def adding(path):
        directory = Directory.open(path, "w")
        n = len(directory.segments)
        while True:
            n += 1
            arrays = {f"{g}/x": np.full((300, 50), n, np.int32) for g in "abcd"}
            directory.add_segment({"n": n}, arrays, {}, ["b/x"], {"n": n})

    def creating(path):
        n = 0
        while True:
            n += 1
            with Directory.create(path, overwrite=True) as directory:
                arrays = {f"{g}/x": np.full((300, 50), n, np.int32) for g in "abcd"}
                directory.add_segment({"n": n}, arrays, {}, ["b/x"], {"n": n})
                directory.commit_new()

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            {"adding": adding, "creating": creating}[sys.argv[1]](sys.argv[2])
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)
"""


class Victims:
    """Processes that work on an index until they are killed; forked, to spare the import."""

    def __init__(self, work: str, path: Path) -> None:
        self.process = child(FORKING, work, path)

    def kill_one(self, seconds: float) -> None:
        """Lets one work for some time."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        assert self.process.stdout.readline() == "ended\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.communicate()


def check_killed_adding(path: Path, kills: int, seed: int) -> None:
    make_index(path)
    rng = random.Random(seed)
    last = 1
    with Victims("adding", path) as victims:
        for _ in range(kills):
            victims.kill_one(rng.uniform(0, 0.08))
            with Directory.open(path, check=True) as directory:
                assert last <= len(directory.segments) == directory.settings.get("n", 1)
                last = len(directory.segments)
                for segment in directory.segments[1:]:
                    assert (segment.array("a/x") == segment.meta["n"]).all()
    with Directory.open(path, "w", check=True) as directory:
        names = {f"segment-{segment.id:06d}" for segment in directory.segments}
        assert {p.name for p in path.glob("segment-*")} == names
        assert len(directory.segments) == last


def check_killed_creating(path: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    with Victims("creating", path) as victims:
        for _ in range(kills):
            victims.kill_one(rng.uniform(0, 0.08))
            if path.exists():
                with Directory.open(path, check=True) as directory:
                    (segment,) = directory.segments
                    assert segment.meta == directory.settings
                    assert (segment.array("d/x") == segment.meta["n"]).all()
    make_index(path, overwrite=True)
    assert leftovers(path.parent) == []
    assert_is_sample(path)


@pytest.mark.skipif(sys.platform == "win32", reason="fork, SIGKILL")
def test_killed_while_adding(tmp_path: Path) -> None:
    check_killed_adding(tmp_path / "x.fanns", kills=8, seed=1)


@pytest.mark.skipif(sys.platform == "win32", reason="fork, SIGKILL")
def test_killed_while_creating(tmp_path: Path) -> None:
    check_killed_creating(tmp_path / "x.fanns", kills=8, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("check", [check_killed_adding, check_killed_creating])
def test_killed_often(tmp_path: Path, check: Any) -> None:
    check(tmp_path / "x.fanns", kills=50, seed=3)


LIMITED = """
    import resource, sys
    import numpy as np
    from fanns.errors import StorageError
    from fanns.storage import Directory
    path, mode = sys.argv[1:]
    directory = Directory.create(path) if mode == "create" else Directory.open(path, "w")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        directory.add_segment({}, {"a/small": np.zeros(9), "b/x": np.zeros(10**6)}, {}, [])
    except StorageError as error:
        print(error)
    directory.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE")
@pytest.mark.parametrize("mode", ["create", "w"])
def test_file_size_limit(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.fanns"
    if mode == "w":
        make_index(path)
    message = run_child(LIMITED, path, mode)
    assert "cannot write" in message and "x.fanns" in message and "File too large" in message
    if mode == "w":
        assert_is_sample(path)
        assert [p.name for p in path.glob("segment-*")] == ["segment-000001"]
    else:
        assert list(tmp_path.iterdir()) == []


FULL = """
    import os, subprocess, sys
    from pathlib import Path
    import numpy as np
    from fanns.errors import StorageError
    from fanns.storage import Directory
    from tests.storage_helpers import assert_is_sample, leftovers, make_index
    disk = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=True)
    def attempt(path, big, **options):
        try:
            with Directory.create(path, **options) as directory:
                directory.add_segment({}, {"a/x": np.zeros(big), "b/x": np.zeros(9)}, {}, [])
                directory.commit_new()
        except StorageError as error:
            print(error.errno, error)
        assert leftovers(disk) == [], os.listdir(disk)
    index = make_index(disk / "x.fanns")
    attempt(disk / "new.fanns", 10**6)
    attempt(index, 10**6, overwrite=True)
    with Directory.open(index, "w") as directory:
        try:
            directory.add_segment({}, {"a/x": np.zeros(10**6)}, {}, [])
        except StorageError as error:
            print(error.errno, error)
    assert_is_sample(index)
    assert sorted(os.listdir(disk)) == ["x.fanns"]
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    attempt(disk / "new.fanns", 10)
    attempt(index, 10, overwrite=True)
    try:
        Directory.open(index, "w")
    except StorageError as error:
        print(error.errno, error)
    assert_is_sample(index)
"""


def test_full_and_read_only_disks(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("this system does not let a test mount a small file system")
    lines = run_child(FULL, tmp_path, prefix=("unshare", "-rm")).splitlines()
    assert len(lines) == 6
    assert all("No space left on device" in line and "x.fanns" in line for line in lines[1:3])
    assert "No space left" in lines[0] and "new.fanns" in lines[0]
    assert all("Read-only file system" in line for line in lines[3:])


UNPRIVILEGED = """
    import os, sys
    from pathlib import Path
    from fanns.errors import StorageError
    from fanns.storage import Directory
    from tests.storage_helpers import assert_is_sample
    if os.getuid() == 0:
        os.setuid(65534)
    folder, unreadable = sys.argv[1:]
    for action in (
        lambda: Directory.create(folder + "/new.fanns"),
        lambda: Directory.create(folder + "/x.fanns", overwrite=True),
        lambda: Directory.open(folder + "/x.fanns", "w"),
        lambda: Directory.open(unreadable),
    ):
        try:
            action()
        except StorageError as error:
            print(error)
    assert_is_sample(Path(folder + "/x.fanns"))
"""


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits")
@pytest.mark.parametrize("wal", [False, True])
def test_no_permission(shared_folder: Path, wal: bool) -> None:
    folder = shared_folder / "media"
    folder.mkdir()
    path = make_index(folder / "x.fanns")
    if wal:  # as a copy made beside a writer may be
        (path / catalog.SEAL).unlink()
        connection = catalog.connect(path / catalog.CATALOG, "mode=rw")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    unreadable = make_index(shared_folder / "unreadable.fanns")
    (unreadable / "segment-000001" / "graph.bin").chmod(0)
    try:
        path.chmod(0o555)
        folder.chmod(0o555)
        lines = run_child(UNPRIVILEGED, folder, unreadable).splitlines()
    finally:
        folder.chmod(0o755)
        path.chmod(0o755)
    assert len(lines) == 4
    assert all("Permission denied" in line for line in lines)
    assert "graph.bin" in lines[3]
    assert leftovers(folder) == []


def test_missing_parent_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere.*No such file"):
        Directory.create(tmp_path / "nowhere" / "x.fanns")


def test_progress_of_verify(tmp_path: Path) -> None:
    path = make_index(tmp_path / "x.fanns")
    calls: list[tuple[int, int]] = []
    with Directory.open(path) as directory:
        assert directory.verify(lambda *call: calls.append(call)) == []
        total = directory.segments[0].nbytes()
    assert calls[-1] == (total, total)


def test_opening_takes_milliseconds(tmp_path: Path) -> None:
    path = tmp_path / "x.fanns"
    arrays = {f"attributes/c{i}/part": np.arange(100, dtype=np.int32) for i in range(80)}
    with Directory.create(path) as directory:
        directory.add_segment({}, arrays, {}, [])
        directory.commit_new()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        Directory.open(path).close()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02  # 2 ms where it was written
