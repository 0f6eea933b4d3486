"""`durability="deferred"`: changes outlive the process; lost power takes those since a sync."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import fanns
from fanns import catalog, pending
from fanns.errors import CorruptIndexError, InputError, LostChangesWarning, StorageError
from fanns.storage import Directory
from tests.living_helpers import Model, assert_same
from tests.living_operations import QUERY, digest, draw, follow, perform, rows_in, start
from tests.power_loss import recorded
from tests.storage_helpers import child
from tests.test_power_loss import check, state

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's boot id")


@pytest.fixture(autouse=True)
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced because time goes by."""
    monkeypatch.setattr(pending, "SYNC_SECONDS", 1e9)


def reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is started anew."""
    monkeypatch.setattr(pending, "boot_id", lambda: "another")


def changed(index: fanns.Index, model: Model, count: int, seed: int = 0) -> Model:
    """So many random changes, none of which syncs."""
    rng = random.Random(seed)
    while count:
        operation = draw(rng, index)
        if operation["name"] == "erase":
            continue
        count -= 1
        perform(index, operation)
        model = follow(model, operation)
    return model


def abandon(index: fanns.Index) -> None:
    """Let go of an index as a killed process does."""
    directory = index._directory
    assert directory is not None
    if index._merger is not None:
        index._merger.close()
    assert directory._writer is not None and directory._lock is not None
    directory._lock.release()
    directory._writer = None


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    model = start(tmp_path / "x")
    process = child(
        """
        import json, random, sys, time
        import fanns
        from fanns import pending
        from tests.living_operations import draw, perform
        pending.SYNC_SECONDS = 1e9
        index, rng = fanns.open(sys.argv[1], mode="w", durability="deferred"), random.Random(1)
        for _ in range(12):
            operation = draw(rng, index)
            if operation["name"] == "erase":
                continue
            perform(index, operation)
            print(json.dumps(operation), flush=True)
        print("done", flush=True)
        time.sleep(60)
        """,
        tmp_path / "x",
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "done\n":
            break
        model = follow(model, json.loads(line))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "x" / pending.PENDING).exists()
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)
    with fanns.open(tmp_path / "x", mode="w", check=True) as written:
        assert_same(written, model, QUERY)
        assert not (tmp_path / "x" / pending.PENDING).exists()
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)
        assert read.verify() == []


def test_lost_power_takes_what_came_after_the_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = start(tmp_path / "x")
    index = fanns.open(tmp_path / "x", mode="w", durability="deferred")
    model = changed(index, model, 8, seed=1)
    index.sync()
    later = changed(index, model, 8, seed=2)
    assert_same(index, later, QUERY)
    with fanns.open(tmp_path / "x") as read:
        assert_same(read, later, QUERY)
    abandon(index)
    with monkeypatch.context() as patch:
        reboot(patch)
        with pytest.warns(LostChangesWarning, match="as it was at the last sync"):
            read = fanns.open(tmp_path / "x", check=True)
        assert_same(read, model, QUERY)
        read.close()
        with pytest.warns(LostChangesWarning, match="forgotten now"):
            written = fanns.open(tmp_path / "x", mode="w", check=True)
        with written:
            assert_same(written, model, QUERY)
            model = changed(written, model, 2, seed=3)
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)


def test_a_copy_on_another_machine_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = start(tmp_path / "x")
    with fanns.open(tmp_path / "x", mode="w", durability="deferred", merge="manual") as index:
        later = changed(index, model, 4, seed=1)
        shutil.copytree(tmp_path / "x", tmp_path / "unsynced")
        index.sync()
        shutil.copytree(tmp_path / "x", tmp_path / "synced")
    shutil.copytree(tmp_path / "x", tmp_path / "again")
    # the file of a state that was synced may come back with the power
    shutil.copy(tmp_path / "unsynced" / pending.PENDING, tmp_path / "again" / pending.PENDING)
    with fanns.open(tmp_path / "unsynced") as here:  # the same machine: nothing is lost
        assert_same(here, later, QUERY)
    reboot(monkeypatch)
    with pytest.warns(LostChangesWarning, match=r"another machine.*copy it again"):
        read = fanns.open(tmp_path / "unsynced", check=True)
    with read:
        assert_same(read, model, QUERY)
    for name in ("synced", "again"):
        with fanns.open(tmp_path / name, check=True) as read:
            assert_same(read, later, QUERY)
    file = tmp_path / "unsynced" / pending.PENDING
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.warns(LostChangesWarning):
        fanns.open(tmp_path / "unsynced", mode="w").close()
    fanns.open(tmp_path / "unsynced", mode="w").close()  # told once


def test_what_a_failed_sync_left_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = start(tmp_path / "x")
    index = fanns.open(tmp_path / "x", mode="w", durability="deferred", merge="manual")
    model = changed(index, model, 3, seed=1)
    segments = sorted((tmp_path / "x").glob("segment-*/*"))
    before = {path: path.stat().st_ino for path in segments}
    real = os.fsync

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(fanns.FannsError, match="Input/output error"):
            index.sync()
    assert {path: path.stat().st_ino for path in segments} == before
    synced: set[int] = set()

    def noted(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    index.sync()
    kept = [path for path in segments if path.is_file()]
    again = {path for path in kept if path.stat().st_ino != before[path]}
    assert again and {path.stat().st_ino for path in again} <= synced
    assert_same(index, model, QUERY)
    index.close()
    with fanns.open(tmp_path / "x", check=True) as read:
        assert_same(read, model, QUERY)


def check_power(path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, seed: int) -> None:
    """Between syncs the last synced state is what every image of the disk has."""
    root = path / "root"
    root.mkdir()
    model = start(root / "x", 60)
    rng = random.Random(seed)
    with recorded(root, seed, monkeypatch) as disk:
        disk.saying = "opening", (state(model),)
        with fanns.open(root / "x", mode="w", durability="deferred") as index:
            synced = model
            for _ in range(rounds):
                for _ in range(3):
                    operation = draw(rng, index)
                    model = follow(model, operation)
                    erases = operation["name"] == "erase"
                    allowed = [synced, model] if erases else [synced]
                    disk.saying = operation["name"], tuple(map(state, allowed))
                    perform(index, operation)
                    synced = model if erases else synced
                    disk.saying = f"returned {operation['name']}", (state(synced),)
                    disk.point()
                disk.saying = "sync", (state(synced), state(model))
                index.sync()
                synced = model
                disk.saying = "returned sync", (state(model),)
                disk.point()
            operation = {"name": "where", "seed": 2, "year": 1}
            model = follow(model, operation)
            perform(index, operation)
            disk.saying = "closing", (state(synced), state(model))
        disk.saying = "closed", (state(model),)
        disk.point()
    assert len(disk.images) > 15 * rounds
    with monkeypatch.context() as patch, warnings.catch_warnings():
        reboot(patch)
        warnings.simplefilter("ignore", LostChangesWarning)
        assert check(disk.images, path / "images") == {0, 1}


def test_power_goes_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_power(tmp_path, monkeypatch, 1, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_power_goes_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    check_power(tmp_path, monkeypatch, 8, seed)


def test_nothing_is_synced_until_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = start(tmp_path / "x")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with fanns.open(tmp_path / "x", mode="w", durability="deferred", merge="manual") as index:
        synced.clear()
        before = catalog.read_manifest(tmp_path / "x")
        model = changed(index, model, 1, seed=1)
        index.add(index_rows(index))
        index.delete(where="year = 2")
        index.update(set={"year": 1}, where="year = 3")
        assert synced == []
        assert catalog.read_manifest(tmp_path / "x") == before
        with fanns.open(tmp_path / "x") as reader:
            assert len(reader) == len(index) and reader.count("year = 3") == 0
            index.sync()
            assert len(synced) > 3 and not (tmp_path / "x" / pending.PENDING).exists()
            assert not reader.refresh()  # it had this state already
            synced.clear()
            index.sync()
            assert synced == []
            found = digest(rows_in(reader))
        monkeypatch.setattr(pending, "SYNC_SECONDS", 0.05)
        index.delete(ids=index.ids()[:1])
        assert synced == []
        time.sleep(0.06)
        index.delete(ids=index.ids()[:1])
        assert len(synced) > 0 and not (tmp_path / "x" / pending.PENDING).exists()
    names = {entry.name for entry in (tmp_path / "x").iterdir()}
    assert not any(name.startswith(pending.PENDING) for name in names)
    with fanns.open(tmp_path / "x", check=True) as reader:
        assert digest(rows_in(reader)) != found


def index_rows(index: fanns.Index) -> Any:
    """Two rows more, like the first ones."""
    table = index.get(index.ids()[:2], vector=True)
    return table.set_column(0, "id", [[9_001, 9_002]]).select(
        ["id", "embedding", *[name for name in table.column_names if name not in
                             ("id", "embedding")]])  # fmt: skip


def test_a_sync_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = start(tmp_path / "x")

    def fail(_: Any, *__: Any) -> None:
        raise StorageError("the disk is full")

    index = fanns.open(tmp_path / "x", mode="w", durability="deferred")
    model = changed(index, model, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "_write_catalog", fail)
        with pytest.raises(StorageError, match="disk is full"):
            index.sync()
        patch.setattr(pending, "SYNC_SECONDS", 0.0)
        model.delete(lambda row: row["year"] == 3)
        index.delete(where="year = 3")  # holds, whatever becomes of the sync that it brings
        assert_same(index, model, QUERY)
        with pytest.raises(StorageError, match="disk is full"):
            index.close()
    with fanns.open(tmp_path / "x", mode="w", check=True) as index:
        assert_same(index, model, QUERY)


def test_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path / "x")
    with pytest.raises(InputError, match="'full' or 'deferred'"):
        fanns.open(tmp_path / "x", mode="w", durability="none")
    with fanns.open(tmp_path / "x") as read, pytest.raises(StorageError, match="for reading"):
        read.sync()
    with fanns.open(tmp_path / "x", mode="w") as index:
        index.sync()
    monkeypatch.setattr(pending, "boot_id", lambda: None)
    with pytest.raises(StorageError, match="this system has none"):
        fanns.open(tmp_path / "x", mode="w", durability="deferred")
    fanns.open(tmp_path / "x", mode="w").close()


def test_damaged_or_forged(tmp_path: Path) -> None:
    """Any byte flipped below the first line is found; forged contents are checked like catalogs."""
    model = start(tmp_path / "x")
    index = fanns.open(tmp_path / "x", mode="w", durability="deferred", merge="manual")
    model = changed(index, model, 4)
    abandon(index)
    file = tmp_path / "x" / pending.PENDING
    content = file.read_bytes()
    first = content.index(b"\n") + 1
    rng = random.Random(0)
    for _ in range(150):
        flipped = bytearray(content)
        flipped[rng.randrange(first, len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(flipped)
        with pytest.raises(CorruptIndexError, match=pending.PENDING):
            fanns.open(tmp_path / "x")
    boot, body = content[:first], content.split(b"\n", 2)[2]
    forgeries = [
        b"",
        b"[]",
        b"{}",
        b'{"settings": {}, "segments": 3}',
        b"[" * 50_000,
        body.replace(b'"id": ', b'"id": -'),
        body.replace(b".bin", b"/../.bin"),
        body.replace(b'"segments": [', b'"segments": [7, '),
        body.replace(b"<f4", b"|O"),
        body.replace(b'"files": [', b'"files": [[], '),
        body.replace(b"int", b"tensor"),
        body.replace(b'"settings": {', b'"other": {'),
    ]
    for forged in forgeries:
        assert forged != body
        file.write_bytes(boot + pending.checksum(forged).encode() + b"\n" + forged)
        with pytest.raises(CorruptIndexError):
            fanns.open(tmp_path / "x")
        with pytest.raises(CorruptIndexError):
            fanns.open(tmp_path / "x", mode="w")
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(CorruptIndexError, match="symbolic link"):
        fanns.open(tmp_path / "x")
    file.unlink()
    file.write_bytes(content)
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    for path in (tmp_path / "x", tmp_path / "y"):
        with fanns.open(path, mode="w", check=True) as index:
            assert_same(index, model, QUERY)
