"""Power is lost at every moment of a change: afterwards the index is as before the change or after.

What `tests/power_loss.py` says of SQLite's part holds here.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import fanns
from tests.living_helpers import Model
from tests.living_operations import Operation, digest, draw, follow, perform, rows_in, start
from tests.power_loss import Disk, Image, recorded, restore

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")

State = str | None


def state(model: Model) -> str:
    """What an index with these rows is known by."""
    return digest(list(model.rows.values()))


def found_in(path: Path) -> State:
    """What is there after power came back, for readers and for the next writer, all of it sound."""
    if not path.exists():
        return None
    with fanns.open(path, check=True) as index:
        found = digest(rows_in(index))
    with fanns.open(path, mode="w", check=True) as index:
        assert digest(rows_in(index)) == found
        index.delete(ids=index.ids()[:1])
        left = digest(rows_in(index))
    with fanns.open(path, check=True) as index:
        assert index.verify() == []
        assert digest(rows_in(index)) == left
    return found


def check(images: list[tuple[Image, Any]], folder: Path) -> set[int]:
    """Each image is in one of the states allowed; which of them were seen, by their place."""
    seen = set()
    for number, (image, (kind, (what, allowed))) in enumerate(images):
        place = restore(image, folder / str(number))
        try:
            found = found_in(place / "x")
        except Exception as error:
            raise AssertionError(f"{kind} image {number} of {what}: {error}") from error
        assert found in allowed, f"{kind} image {number} of {what}: another state"
        seen.add(allowed.index(found))
        shutil.rmtree(place)
    return seen


def check_changes(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    operations: Sequence[Operation],
    count: int,
    seed: int,
) -> None:
    """Operations given, or so many drawn at random."""
    root = folder / "root"
    root.mkdir()
    model = start(root / "x", 60)
    rng = random.Random(seed)
    with recorded(root, seed, monkeypatch) as disk:
        disk.saying = "opening", (state(model),)
        with fanns.open(root / "x", mode="w") as index:
            for number in range(count):
                operation = operations[number] if operations else draw(rng, index)
                after = follow(model, operation)
                disk.saying = operation["name"], (state(model), state(after))
                perform(index, operation)
                model = after
                disk.saying = f"returned {operation['name']}", (state(model),)
                disk.point()
            disk.saying = "closing", (state(model),)
        disk.point()
    assert len(disk.images) > 10 * count
    assert check(disk.images, folder / "images") == {0, 1}


CHANGES: list[Operation] = [
    {"name": "add", "seed": 1, "keys": list(range(100, 130))},
    {"name": "where", "seed": 2, "year": 3},
    {"name": "set", "seed": 3, "year": 2, "new": {"year": None, "note": "x9"}},
    {"name": "upsert", "seed": 4, "keys": [5, 6, 110, 140]},
    {"name": "erase", "seed": 6},
]


def test_while_changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_changes(tmp_path, monkeypatch, CHANGES, len(CHANGES), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_while_changing_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    check_changes(tmp_path, monkeypatch, (), 25, seed)


def test_while_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    first = start(tmp_path / "first", 40)
    second = start(tmp_path / "second", 50)
    with recorded(root, 0, monkeypatch) as disk:
        disk.saying = "build", (None, state(first))
        start(root / "x", 40)
        disk.saying = "returned build", (state(first),)
        disk.point()
        disk.saying = "overwrite", (state(first), state(second))
        fanns.open(tmp_path / "second").save(root / "x", overwrite=True)
        disk.saying = "returned overwrite", (state(second),)
        disk.point()
    assert check(disk.images, tmp_path / "images") == {0, 1}


@pytest.mark.parametrize("what", ["files", "folders"])
def test_a_forgotten_sync_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The layer is worth something: without either kind of fsync, changes are lost."""
    synced = Disk.synced

    def forgetful(self: Disk, descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (what == "files"):
            synced(self, descriptor)

    monkeypatch.setattr(Disk, "synced", forgetful)
    with pytest.raises(AssertionError, match="image"):
        check_changes(tmp_path, monkeypatch, CHANGES, 1, seed=1)
