"""Parts of objects that threads ask for at the same time are made once."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.attributes import AttributeIndex
from fanns.once import once
from fanns.paths.graph import GraphPath


def at_once(count: int, call: Callable[[], Any]) -> list[Any]:
    """What a call gives in so many threads that begin together."""
    barrier, found = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Slow:
    """Parts that take a moment, one of them made of the other."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.fails = 0

    @once
    def first(self) -> object:
        time.sleep(0.01)
        self.made.append("first")
        if self.fails:
            self.fails -= 1
            raise ValueError("not now")
        return object()

    @once
    def second(self) -> tuple[object, object]:
        """A part."""
        return self.first, object()


def test_is_made_once() -> None:
    slow = Slow()
    found = at_once(8, lambda: slow.second)
    assert len({id(each) for each in found}) == 1
    assert slow.made == ["first"] and slow.second[0] is slow.first
    assert Slow.second.__doc__ == "A part." and isinstance(Slow.second, once)


def test_a_failure_is_no_part() -> None:
    slow = Slow()
    slow.fails = 1
    found = at_once(4, lambda: slow.first)
    assert sorted(type(each) is ValueError for each in found) == [False, False, False, True]
    assert slow.made == ["first"] * 2


def test_objects_do_not_wait_for_one_another() -> None:
    held, free = Slow(), Slow()
    with held.__dict__.setdefault("_once", threading.RLock()):
        assert at_once(1, lambda: free.first) == [free.first]
    other = copy.copy(free)
    assert other.first is free.first
    other.first = None
    assert other.first is None and free.first is not None


def test_readers_share_what_the_first_of_them_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    n, d = 5_000, 16
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    table = pa.table(
        {
            "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), d),
            "year": rng.integers(0, 3, n),
        }
    )
    options: dict[str, Any] = {"calibration": "default", "bits": 0, "range_index": ["year"]}
    fanns.Index.build(table, path=tmp_path / "x", **options).close()
    loaded: list[type] = []
    for kind in (AttributeIndex, GraphPath):

        def load(*given: Any, kind: Any = kind, real: Any = kind.load, **named: Any) -> Any:
            loaded.append(kind)
            time.sleep(0.02)
            return real(*given, **named)

        monkeypatch.setattr(kind, "load", load)
    with fanns.open(tmp_path / "x") as index:
        (segment,) = index._snapshot.segments
        found = at_once(8, lambda: index.search(vectors[0], 5, "year >= 1").ids.tolist())
        assert found == [found[0]] * 8
        graphs = at_once(8, lambda: segment.column_graphs)
        assert len({id(each) for each in graphs}) == 1
        assert sorted(kind.__name__ for kind in loaded) == ["AttributeIndex", "GraphPath"]
        (known,) = graphs[0]
        assert known == id(segment.attributes.postings("year"))
