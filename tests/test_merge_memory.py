"""Merges keep to a limit of memory: what they take is foretold, and what is too large is told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fanns
from fanns import adding, merging
from fanns.building import Recipe
from fanns.errors import InputError
from fanns.merge_memory import Room
from fanns.segment import Segment
from tests.living_helpers import Model, assert_same, random_row, table_of
from tests.living_operations import QUERY
from tests.storage_helpers import run_child
from tests.streamed_helpers import rows

ROWS = 20

pytestmark = pytest.mark.usefixtures("apart")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of twenty rows stay segments of their own; a row takes a byte of the limit."""
    monkeypatch.setattr(merging, "SMALLEST", ROWS)
    monkeypatch.setattr(adding, "TAIL_ROWS", ROWS)

    def needed(self: Room, parts: Sequence[Segment], recipe: Recipe) -> int:
        return sum(part.rows for part in parts)

    monkeypatch.setattr(Room, "needed", needed)


def batches(path: Path, *counts: int) -> Model:
    """A closed index of so many batches of twenty rows, none of them merged."""
    rng = np.random.default_rng(0)
    made = [random_row(rng, i) for i in range(sum(counts))]
    options: dict[str, Any] = {"metric": "l2", "store": ["note"], "calibration": "default"}
    fanns.Index.build(table_of(made[: counts[0]]), path=path, **options).close()
    with fanns.open(path, mode="w", merge="manual") as index:
        start = counts[0]
        for count in counts[1:]:
            index.add(table_of(made[start : start + count]))
            start += count
    return Model(made)


def sizes(index: fanns.Index) -> list[int]:
    return [segment.n for segment in index._snapshot.segments]


def settled(index: fanns.Index) -> dict[str, Any]:
    end = time.monotonic() + 60
    while index.info()["merging"]["running"]:
        assert time.monotonic() < end
        time.sleep(0.005)
    told: dict[str, Any] = index.info()["merging"]
    return told


@pytest.mark.usefixtures("small")
def test_what_is_too_large_is_not_begun_and_told(tmp_path: Path) -> None:
    model = batches(tmp_path / "x", 30, 30, 30, 30)
    with fanns.open(tmp_path / "x", mode="w", memory_limit=100) as index:
        assert settled(index) == {
            "running": False, "merges": 0, "problem": None, "rows_beyond_limit": 120,
        }  # fmt: skip
        assert sizes(index) == [30] * 4
        assert_same(index, model, QUERY)
        gone = list(range(60, 90, 2))
        assert index.delete(ids=gone) == model.delete_keys(gone)  # this one alone is ripe now
        told = settled(index)
        assert told["merges"] == 1 and told["rows_beyond_limit"] == 105
        assert_same(index, model, QUERY)
    with fanns.open(tmp_path / "x", mode="w", memory_limit="1kB", merge="manual") as index:
        assert index.info()["merging"] is None
        assert index.compact(full=True).segments_after == 1
        assert_same(index, model, QUERY)


@pytest.mark.usefixtures("small")
def test_compact_merges_what_there_is_room_for(tmp_path: Path) -> None:
    model = batches(tmp_path / "x", 60, 40, 30, 25, 80)
    with fanns.open(tmp_path / "x", mode="w", merge="manual", memory_limit=100) as index:
        report = index.compact(full=True)
        assert sizes(index) == [100, 55, 80] and report.beyond_limit == 1
        assert report.segments_after == 3
        gone = [3, 199]
        assert index.delete(ids=gone) == model.delete_keys(gone)
        assert index.compact(erase=True).removed == 2
        assert index.verify() == []
        assert_same(index, model, QUERY)
    with fanns.open(tmp_path / "x", mode="w", merge="manual", memory_limit=60) as index:
        assert index.delete(ids=[4]) == model.delete_keys([4])
        with pytest.raises(InputError, match=r"is 60 bytes, but to erase.* 98 are needed"):
            index.compact(erase=True)
        assert index.delete(ids=range(5, 30)) == model.delete_keys(list(range(5, 30)))
        before = sizes(index)
        assert index.compact().beyond_limit == 3 and sizes(index) == before
        assert_same(index, model, QUERY)
    with fanns.open(tmp_path / "x", mode="w", merge="manual") as index:
        assert index.compact(erase=True).beyond_limit == 0
        assert_same(index, model, QUERY)


@pytest.mark.parametrize("limit", [0, -3, True, "plenty", 1.5])
def test_limits_that_are_none(tmp_path: Path, limit: Any) -> None:
    batches(tmp_path / "x", 20)
    with pytest.raises(InputError, match="memory_limit is"):
        fanns.open(tmp_path / "x", mode="w", memory_limit=limit)


MERGING = """
    import json, sys, threading, time
    import fanns
    from fanns.memory_limit import give_back, held_besides_files
    from fanns.merge_memory import merge_bytes
    path, limit = sys.argv[1], sys.argv[2]
    peak, done = [0], threading.Event()
    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], held_besides_files())
            time.sleep(0.002)
    with fanns.open(path, mode="w", merge="manual", memory_limit=limit or None) as index:
        parts, recipe = index._snapshot.segments, index._recipe
        needed = index._room.needed(parts, recipe)
        foretold = merge_bytes(parts, recipe)
        give_back()
        held = held_besides_files()
        watcher = threading.Thread(target=watch)
        watcher.start()
        report = index.compact(full=True)
        done.set()
        watcher.join()
        told = {"needed": needed, "foretold": foretold, "held": held, "peak": peak[0],
                "after": report.segments_after, "beyond": report.beyond_limit}
    print(json.dumps(told))
"""


def built(path: Path, n: int, d: int, **options: Any) -> None:
    """Four segments of n rows each."""
    table = rows(4 * n, d)
    given: dict[str, Any] = {"vector": "v", "calibration": "default", "path": path, **options}
    fanns.Index.build(table.slice(0, n), **given).close()
    with fanns.open(path, mode="w", merge="manual") as index:
        for start in range(n, 4 * n, n):
            index.add(table.slice(start, n))


def merged(path: Path, limit: str = "") -> dict[str, int]:
    told: dict[str, int] = json.loads(run_child(MERGING, path, limit, seconds=900).splitlines()[-1])
    return told


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("n", "d", "options"),
    [
        (5_000, 128, {"bits": 0, "reduce": "off"}),
        pytest.param(25_000, 256, {}, marks=pytest.mark.slow),
        pytest.param(25_000, 256, {"keep_originals": False}, marks=pytest.mark.slow),
        pytest.param(12_000, 64, {"label_index": ["word"]}, marks=pytest.mark.slow),
    ],
)
def test_what_a_merge_takes_is_foretold(
    tmp_path: Path, n: int, d: int, options: dict[str, Any]
) -> None:
    built(tmp_path / "x", n, d, **options)
    told = merged(tmp_path / "x", "10GB")
    grown = told["peak"] - told["held"]
    assert told["after"] == 1 and told["peak"] <= told["needed"]
    assert grown < 1.2 * told["foretold"] + 60_000_000  # with what the merge itself loads
    built(tmp_path / "y", n, d, **options)
    again = merged(tmp_path / "y", str(told["needed"] - told["foretold"] // 10))
    assert (again["after"], again["beyond"]) != (1, 0)
    assert again["peak"] < told["needed"]
