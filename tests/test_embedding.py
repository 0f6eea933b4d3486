"""Embedding shard by shard: order, cache, kills, damage, full disks."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanns.datasets import vector_cache
from fanns.datasets.dataset import vectors as vectors_of
from fanns.datasets.embedding import Pace, embed_shards
from fanns.errors import InputError, StorageError
from tests.encoder_models import FakeEncoder

ROOT = Path(__file__).resolve().parents[1]


def texts_of(table: pa.Table) -> list[str]:
    return [str(text) for text in table["text"].to_pylist()]


def write_shards(folder: Path, shards: list[list[str]]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"records-{number:05d}.parquet" for number in range(len(shards))]
    for path, texts in zip(paths, shards, strict=True):
        pq.write_table(pa.table({"id": range(len(texts)), "text": pa.array(texts, "string")}), path)
    return paths


def some(rows: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return ["word " * int(n) + str(i % 37) for i, n in enumerate(random.integers(0, 50, rows))]


def expected(encoder: FakeEncoder, texts: list[str]) -> Any:
    return np.stack([encoder.vector(text) for text in texts]) if texts else np.empty((0, 8))


class Killed(BaseException):
    """Ends a run where a kill would."""


class Dying(FakeEncoder):
    """Dies after so many texts."""

    left = 0

    def documents(self, texts: Any) -> Any:
        self.left -= len(texts)
        if self.left < 0:
            raise Killed
        return super().documents(texts)


def test_every_row_gets_its_vector(tmp_path: Path) -> None:
    shards = [some(50), [], some(30, seed=1), ["one"]]
    encoder = FakeEncoder()
    told: list[tuple[str, int, int]] = []
    paths = embed_shards(
        write_shards(tmp_path / "in", shards),
        texts_of,
        encoder,
        tmp_path / "out",
        report=lambda *step: told.append(step),
        window=16,
    )
    assert [path.name for path in paths] == [f"embeddings-{i:05d}.parquet" for i in range(4)]
    for path, texts in zip(paths, shards, strict=True):
        table = pq.read_table(path)
        assert table.schema.field("embedding").type == pa.list_(pa.float32(), 8)
        assert table.schema.metadata[b"fanns.model"] == b"fake"
        assert (vectors_of(table) == expected(encoder, texts)).all()
    assert told[-1] == ("embeddings", 81, 81)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [p.name for p in paths]


def test_batches_are_of_like_length(tmp_path: Path) -> None:
    encoder, texts = FakeEncoder(batch=5), [f"{i} " + "x" * (i * 7 % 40) for i in range(40)]
    embed_shards(write_shards(tmp_path, [texts]), texts_of, encoder, tmp_path / "out")
    lengths = [len(text) for text in encoder.seen]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("deaths", [(1, 7, 22, 3, 1000), (16, 1000)])
def test_a_killed_run_embeds_nothing_twice(
    tmp_path: Path, cached: bool, deaths: tuple[int, ...]
) -> None:
    shards = [[f"{i} " * (i % 9 + 1) for i in range(n, n + 40)] for n in (0, 40)]
    sources = write_shards(tmp_path / "in", shards)
    embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "whole", window=16)
    seen: list[str] = []
    batches: list[tuple[str, ...]] = []
    for death in deaths:
        encoder = Dying()
        encoder.left = death
        cache = tmp_path / "cache" if cached else None
        try:
            embed_shards(sources, texts_of, encoder, tmp_path / "out", cache=cache, window=16)
        except Killed:
            assert not list((tmp_path / "out").glob("*.partial"))
        seen += encoder.seen
        batches += [tuple(encoder.seen[i : i + 4]) for i in range(0, len(encoder.seen), 4)]
    assert sorted(seen) == sorted({text for texts in shards for text in texts})
    whole = FakeEncoder()
    embed_shards(sources, texts_of, whole, tmp_path / "again", window=16)
    assert batches == [tuple(whole.seen[i : i + 4]) for i in range(0, len(whole.seen), 4)]
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "out").iterdir())) == 2


SCRIPT = """
import os, sys, time
from pathlib import Path
from fanns.datasets.embedding import embed_shards
from tests.encoder_models import FakeEncoder
class Slow(FakeEncoder):
    def documents(self, texts):
        made = super().documents(texts)
        with open(sys.argv[2], "a") as log:
            log.write("".join(text + "\\n" for text in texts))
        time.sleep(0.01)
        return made
texts_of = lambda table: table["text"].to_pylist()
embed_shards([Path(sys.argv[1])], texts_of, Slow(), Path(sys.argv[3]), window=64)
"""


def test_killed_by_the_system(tmp_path: Path) -> None:
    texts = [f"{i} " * (i % 9 + 1) for i in range(200)]
    (source,) = write_shards(tmp_path / "in", [texts])
    log, out = tmp_path / "log", tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(source), str(log), str(out)]
    for lines in (20, 90):
        run = subprocess.Popen(command, cwd=ROOT)
        while run.poll() is None and (not log.exists() or log.read_text().count("\n") < lines):
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not list(out.glob("*.parquet"))
    subprocess.run(command, cwd=ROOT, check=True)
    seen = log.read_text().splitlines()
    assert set(seen) == set(texts)
    assert len(seen) <= len(texts) + 2 * 4, "at most the batch under way, per kill"
    embed_shards([source], texts_of, FakeEncoder(), tmp_path / "whole", window=64)
    (made,) = out.iterdir()
    assert made.read_bytes() == (tmp_path / "whole" / made.name).read_bytes()


def test_the_cache_serves_other_runs(tmp_path: Path) -> None:
    cache, first = tmp_path / "cache", write_shards(tmp_path / "a", [["x", "y", "x", "z"]])
    other = write_shards(tmp_path / "b", [["z", "w"], ["y"]])
    encoder = FakeEncoder()
    embed_shards(first, texts_of, encoder, tmp_path / "1", cache=cache)
    paths = embed_shards(other, texts_of, encoder, tmp_path / "2", cache=cache)
    assert encoder.seen == ["x", "y", "z", "w"]
    made = np.concatenate([vectors_of(pq.read_table(path)) for path in paths])
    assert (made == expected(encoder, ["z", "w", "y"])).all()
    different = FakeEncoder(name="other")
    embed_shards(first, texts_of, different, tmp_path / "3", cache=cache)
    assert different.seen == ["x", "y", "z"] and len(list(cache.glob("*.sqlite"))) == 2


def test_shards_of_another_encoder_or_source(tmp_path: Path) -> None:
    sources = write_shards(tmp_path / "in", [["a", "b"]])
    (shard,) = embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "out")
    with pytest.raises(InputError, match=r"embedded by 'fake', not by 'other'"):
        embed_shards(sources, texts_of, FakeEncoder(name="other"), tmp_path / "out")
    changed = write_shards(tmp_path / "more", [["a", "b", "c"]])
    with pytest.raises(InputError, match="has 2 rows, its source has 3"):
        embed_shards(changed, texts_of, FakeEncoder(), tmp_path / "out")
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"embeddings-00000.parquet cannot be read.*remove it"):
        embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "out")
    with pytest.raises(StorageError, match=r"nothing.parquet cannot be read as Parquet"):
        embed_shards([tmp_path / "nothing.parquet"], texts_of, FakeEncoder(), tmp_path / "out")


class Always:
    """A function of one value, whatever it is asked."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, _: Any) -> Any:
        return self.value


def test_odd_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = write_shards(tmp_path / "in", [["a", "b"]])
    for made in (np.zeros((1, 8)), np.zeros((2, 7)), np.full((2, 8), np.nan)):
        encoder = FakeEncoder()
        monkeypatch.setattr(encoder, "documents", Always(made))
        with pytest.raises(InputError, match="expected finite vectors of 8 dimensions"):
            embed_shards(sources, texts_of, encoder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.p*"))


def test_damaged_caches(tmp_path: Path) -> None:
    cache, sources = tmp_path / "cache", write_shards(tmp_path / "in", [["a", "b"]])
    embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "1", cache=cache)
    (path,) = cache.glob("*.sqlite")
    whole = path.read_bytes()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE vectors SET vector = x'00'")
    file.close()
    with pytest.raises(StorageError, match=r"is damaged: remove it, its texts"):
        embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "2", cache=cache)
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    with pytest.raises(StorageError, match=r"is damaged .*remove it"):
        embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "2", cache=cache)
    path.write_bytes(whole)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE about SET settings = 'else'")
    file.close()
    with pytest.raises(StorageError, match="holds vectors of other settings: else"):
        embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "2", cache=cache)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the cache"):
        embed_shards(sources, texts_of, FakeEncoder(), tmp_path / "2", cache=tmp_path / "file")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = write_shards(tmp_path / "in", [some(200)])
    begin = vector_cache.VectorCache._begin

    def small(self: Any, told: str) -> None:
        begin(self, told)
        self._file.execute("PRAGMA max_page_count = 5")

    monkeypatch.setattr(vector_cache.VectorCache, "_begin", small)
    with pytest.raises(StorageError, match=r"is full; free some space"):
        embed_shards(sources, texts_of, FakeEncoder(dimensions=256), tmp_path / "out")
    monkeypatch.undo()
    embed_shards(sources, texts_of, FakeEncoder(dimensions=256), tmp_path / "out")
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)  # nothing is written again
    embed_shards(sources, texts_of, FakeEncoder(dimensions=256), tmp_path / "out")


@given(texts=st.lists(st.text(), max_size=40), window=st.integers(1, 9), batch=st.integers(1, 9))
@settings(max_examples=20)
def test_any_texts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], window: int, batch: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    encoder = FakeEncoder(batch=batch)
    (path,) = embed_shards(
        write_shards(folder, [texts]), texts_of, encoder, folder / "out", window=window
    )
    assert (vectors_of(pq.read_table(path)) == expected(encoder, texts)).all()


def test_speed_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    said: list[str] = []
    pace = Pace(1000, None, said.append)
    pace.shard(100)
    pace.window(200, 20_000)
    now[0] += 50
    pace.embedded(80, 10_000)  # half the window's characters, in 50 s
    # left: 10,000 of this window, and 700 rows of 100 characters each
    assert said == ["embedded 180 of 1,000 texts, 2 a second, 7 min to go"]
    now[0] += 50
    pace.embedded(120, 10_000)
    pace.end()
    assert said[-1] == "embedded 200 texts in 2 min, 2 a second; 800 were there"
