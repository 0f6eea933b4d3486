"""Exact answers by blocked products: against plain numpy and faiss, resumed, and bounded."""

import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fanns.datasets import best_rows, exact, ground_truth, products, truth_state
from fanns.datasets.ground_truth import Answers, plan, solve
from fanns.datasets.passing import Masks
from fanns.datasets.products import OnProcessor
from fanns.datasets.vector_blocks import Shards, opened
from fanns.errors import InputError, MissingDependencyError, StorageError

ROWS, DIMENSIONS, QUERIES = 3_000, 24, 40


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground_truth, "_MOST", 700)


class Data:
    """Vectors with many ties, queries, and masks of all selectivities, none and all among them."""

    def __init__(self, seed: int = 0, dtype: Any = np.float32) -> None:
        rng = np.random.default_rng(seed)
        self.vectors = rng.standard_normal((ROWS, DIMENSIONS)).astype(dtype)
        self.vectors[100:400] = self.vectors[50]
        self.vectors[700:] *= 3
        self.queries = rng.standard_normal((QUERIES, DIMENSIONS)).astype(np.float32)
        self.queries[0] = self.vectors[50]
        shares = rng.choice([0.0, 1.0, 0.5, 0.01, 0.001], (QUERIES, 1))
        self.masks = rng.random((QUERIES, ROWS)) < shares
        self.ids = np.array([f"id{number}" for number in rng.permutation(ROWS)])

    def filters(self) -> dict[str, Masks | None]:
        return {"none": None, "masks": Masks(ROWS, list(self.masks))}


def same(found: Answers, wanted: exact.Truth) -> None:
    """Bit by bit."""
    np.testing.assert_array_equal(found.truth.offsets, wanted.offsets)
    np.testing.assert_array_equal(found.truth.rows, wanted.rows)
    np.testing.assert_array_equal(found.truth.distances, wanted.distances)
    assert list(found.truth.ids) == list(wanted.ids)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("metric", exact.METRICS)
def test_the_answers_are_those_of_plain_numpy(metric: str, dtype: Any) -> None:
    data = Data(dtype=dtype)
    found = solve(data.vectors, data.queries, data.filters(), metric=metric, ids=data.ids, k=50)
    for name, mask in (("none", None), ("masks", data.masks)):
        plain = data.vectors.astype(np.float32)
        same(
            found[name],
            exact.nearest(plain, data.queries, 50, metric=metric, mask=mask, ids=data.ids),
        )
    np.testing.assert_array_equal(found["masks"].matches, data.masks.sum(axis=1))
    assert set(found["none"].matches) == {ROWS}


@hypothesis.given(
    st.integers(0, 60),
    st.integers(1, 5),
    st.integers(1, 8),
    st.sampled_from(exact.METRICS),
    st.integers(0, 2**32 - 1),
)
def test_any_small_set_is_answered(rows: int, d: int, k: int, metric: str, seed: int) -> None:
    """Of few different vectors, so that nearly all distances are ties."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (rows, d)).astype(np.float32)
    vectors[(vectors == 0).all(axis=1)] = 1.0
    queries = rng.integers(1, 3, (3, d)).astype(np.float32)
    masks = rng.random((3, rows)) < rng.random()
    ids = rng.permutation(rows)
    found = solve(vectors, queries, {"": Masks(rows, list(masks))}, k=k, metric=metric, ids=ids)
    same(found[""], exact.nearest(vectors, queries, k, metric=metric, mask=masks, ids=ids))


class Wobbling(OnProcessor):
    """Products that are off by nearly as much as they may be."""

    def error(self, dimensions: int) -> float:
        return 1e-2

    def __call__(self, queries: Any, rows: Any) -> Any:
        found = super().__call__(queries, rows)
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
        noise = np.random.default_rng(5).choice([-0.99e-2, 0.99e-2], found.shape)
        return (found + noise * lengths).astype(np.float32)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("metric", exact.METRICS)
def test_errors_of_the_product_do_not_reach_the_answers(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data()
    monkeypatch.setattr(ground_truth, "engine", lambda gpu: Wobbling())
    found = solve(data.vectors, data.queries, data.filters(), metric=metric, k=20)
    same(found["none"], exact.nearest(data.vectors, data.queries, 20, metric=metric))
    same(
        found["masks"],
        exact.nearest(data.vectors, data.queries, 20, metric=metric, mask=data.masks),
    )


class Gpu:
    """What `products` uses of faiss-gpu, on a device that rounds factors to 11 bits (TF32)."""

    METRIC_INNER_PRODUCT = 0
    calls = 0

    class StandardGpuResources:
        pass

    @staticmethod
    def get_num_gpus() -> int:
        return 1

    @classmethod
    def pairwise_distance_gpu(cls, resources: Any, queries: Any, rows: Any, metric: int) -> Any:
        assert isinstance(resources, cls.StandardGpuResources) and metric == 0
        cls.calls += 1
        return cls.rounded(queries) @ cls.rounded(rows).T

    @staticmethod
    def rounded(values: Any) -> Any:
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("metric", exact.METRICS)
def test_a_gpu_multiplies_where_faiss_sees_one(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data()
    monkeypatch.setitem(sys.modules, "faiss", Gpu)
    monkeypatch.setattr(Gpu, "__spec__", object(), raising=False)
    before = Gpu.calls
    found = solve(data.vectors, data.queries, data.filters(), metric=metric, k=20)
    assert Gpu.calls > before
    same(
        found["masks"],
        exact.nearest(data.vectors, data.queries, 20, metric=metric, mask=data.masks),
    )
    before = Gpu.calls
    solve(data.vectors, data.queries, {"none": None}, metric=metric, gpu=False)
    assert Gpu.calls == before


def test_merges_may_come_in_any_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data()
    monkeypatch.setattr(best_rows, "_MOST", 500)
    found = solve(data.vectors, data.queries, data.filters(), k=20)
    same(found["masks"], exact.nearest(data.vectors, data.queries, 20, mask=data.masks))


def shards(folder: Path, vectors: NDArray[Any], sizes: list[int], group: int = 64) -> list[Path]:
    """The vectors in Parquet files of so many rows."""
    paths, first = [], 0
    for number, size in enumerate(sizes):
        part = np.ascontiguousarray(vectors[first : first + size])
        flat = pa.array(part.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        paths.append(folder / f"embeddings-{number:05}.parquet")
        pq.write_table(pa.table({"embedding": column}), paths[-1], row_group_size=group)
        first += size
    return paths


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_shards_are_read_from_any_row(dtype: Any, tmp_path: Path) -> None:
    vectors = Data(dtype=dtype).vectors[:1000]
    found = Shards(shards(tmp_path, vectors, [300, 0, 1, 699]))
    assert (found.rows, found.dimensions) == (1000, DIMENSIONS)
    for start in (0, 63, 64, 299, 300, 301, 302, 999, 1000):
        blocks = list(found.blocks(start, 100))
        assert all(0 < len(block) <= 100 and block.dtype == dtype for block in blocks)
        joined = np.concatenate([vectors[:0], *blocks])
        np.testing.assert_array_equal(joined, vectors[start:])


class Killed(Exception):
    pass


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(blocks: int, tmp_path: Path) -> None:
    data = Data()
    paths = shards(tmp_path, data.vectors, [1000, 2000])
    whole = solve(paths, data.queries, data.filters(), k=30, ids=data.ids)
    seen: list[int] = []

    def killing(stage: str, done: int, total: int) -> None:
        assert stage == "exact answers" and total == ROWS
        seen.append(done)
        if len(seen) == blocks + 1:
            raise Killed

    settings: dict[str, Any] = {"k": 30, "ids": data.ids, "work": tmp_path, "save_every": 0.0}
    with pytest.raises(Killed):
        solve(paths, data.queries, data.filters(), report=killing, **settings)
    rest: list[int] = []
    found = solve(
        paths,
        data.queries,
        data.filters(),
        report=lambda stage, done, total: rest.append(done),
        **settings,
    )
    assert rest[0] > seen[0] and rest[-1] == ROWS
    assert not list(tmp_path.glob("*.partial"))
    for name in whole:
        same(found[name], whole[name].truth)
        np.testing.assert_array_equal(found[name].matches, whole[name].matches)


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    data = Data()
    first: dict[str, Any] = {"k": 5, "work": tmp_path}
    solve(data.vectors, data.queries, data.filters(), **first)
    changes: dict[str, dict[str, Any]] = {
        "k": {"k": 6},
        "metric": {"metric": "l2"},
        "ids": {"ids": data.ids},
    }
    for difference, change in changes.items():
        with pytest.raises(StorageError, match=f"its {difference} differ"):
            solve(data.vectors, data.queries, data.filters(), **{**first, **change})
    with pytest.raises(StorageError, match="its queries differ"):
        solve(data.vectors, data.queries + 1, data.filters(), **first)
    with pytest.raises(StorageError, match="its vectors differ"):
        solve(data.vectors + 1, data.queries, data.filters(), **first)
    others = {"none": None, "masks": Masks(ROWS, list(~data.masks))}
    with pytest.raises(StorageError, match="its filters differ"):
        solve(data.vectors, data.queries, others, **first)


@pytest.mark.parametrize("length", [0, 10, 3_000])
def test_a_damaged_state_is_named(length: int, tmp_path: Path) -> None:
    data = Data()
    solve(data.vectors, data.queries, data.filters(), k=5, work=tmp_path)
    path = tmp_path / truth_state.NAME
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StorageError, match=r"truth-state\.npz is damaged .* remove it"):
        solve(data.vectors, data.queries, data.filters(), k=5, work=tmp_path)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = Data()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"cannot be saved: .* No space left"):
        solve(data.vectors, data.queries, data.filters(), work=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="cannot be saved"):
        solve(data.vectors, data.queries, data.filters(), work=tmp_path / "missing")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3e18])
def test_vectors_without_an_answer_are_named(value: float) -> None:
    data = Data()
    data.vectors[1234] = value
    with pytest.raises(InputError, match="vector of row 1234 has length"):
        solve(data.vectors, data.queries, {"none": None})
    data = Data()
    data.queries[7] = value
    with pytest.raises(InputError, match="vector of query 7 has length"):
        solve(data.vectors, data.queries, {"none": None})


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data = Data()
    for arguments, message in (
        ((data.vectors[:, :5], data.queries, {}), "queries of 24 dimensions, vectors of 5"),
        ((data.vectors.astype(np.float64), data.queries, {}), "got float64"),
        ((data.vectors[:9], data.queries, data.filters()), "40 queries and 3000 rows"),
        (([], data.queries, {}), "no shard"),
    ):
        with pytest.raises(InputError, match=message):
            solve(*arguments)
    with pytest.raises(InputError, match="k is 0"):
        solve(data.vectors, data.queries, {}, k=0)
    with pytest.raises(InputError, match="5 ids for 3000 vectors"):
        solve(data.vectors, data.queries, {}, ids=data.ids[:5])
    with pytest.raises(
        InputError, match=r"need a memory limit of [\d,]+ bytes at least, not 1,000"
    ):
        solve(data.vectors, data.queries, {}, memory_limit=1_000)
    with pytest.raises(InputError, match="metric is 'dot'"):
        solve(data.vectors, data.queries, {}, metric="dot")
    with pytest.raises(InputError, match="row 3000 of 3000"):
        Masks(ROWS, [np.array([5, 3000])])
    narrow = shards(tmp_path, data.vectors[:10, :3], [10])
    (tmp_path / "wide").mkdir()
    wide = shards(tmp_path / "wide", data.vectors[:10], [10])
    with pytest.raises(InputError, match="several dimensions"):
        solve(narrow + wide, data.queries, {})
    wide[0].write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="cannot be read as Parquet"):
        solve(wide, data.queries, {})


def test_row_numbers_are_masks() -> None:
    rows = [np.array([3, 1, 9]), np.array([], np.int64), np.arange(10) % 2 == 0]
    found = Masks(10, rows).block(slice(0, 3), slice(1, 10))
    assert np.flatnonzero(found[0]).tolist() == [0, 2, 8]
    assert not found[1].any() and np.flatnonzero(found[2]).tolist() == [1, 3, 5, 7]


class Processors:
    """A faiss without any of its parts for GPUs."""


class Blind(Gpu):
    """A faiss-gpu that sees no device."""

    @staticmethod
    def get_num_gpus() -> int:
        return 0


@pytest.mark.parametrize(
    ("module", "lacking"),
    [(None, "faiss is not installed"), (Processors, "processors only"), (Blind, "no CUDA device")],
)
def test_a_gpu_is_only_insisted_on_where_there_is_one(
    module: Any, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data()
    monkeypatch.setitem(sys.modules, "faiss", module)
    if module is None:
        monkeypatch.setattr(products, "find_spec", lambda _: None)
    else:
        monkeypatch.setattr(module, "__spec__", object(), raising=False)
    with pytest.raises(MissingDependencyError, match=f"no GPU for exact answers: .*{lacking}"):
        solve(data.vectors, data.queries, {}, gpu=True)
    calls = Gpu.calls
    solve(data.vectors, data.queries, {"none": None})
    assert Gpu.calls == calls


def selected(vectors: Any, queries: Any, masks: Any, k: int) -> Iterator[tuple[Any, Any]]:
    """Rows and squared distances of faiss's flat index under an id selector, query by query."""
    faiss = pytest.importorskip("faiss")
    flat = faiss.IndexFlatL2(vectors.shape[1])
    flat.add(vectors)
    for query, mask in zip(queries, masks, strict=True):
        selector = faiss.IDSelectorBatch(np.flatnonzero(mask))
        distances, rows = flat.search(query[None], k, params=faiss.SearchParameters(sel=selector))
        yield rows[0][rows[0] >= 0], distances[0][rows[0] >= 0]


def test_faiss_finds_the_same_rows() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((2_000, 32)).astype(np.float32)
    queries = rng.standard_normal((25, 32)).astype(np.float32)
    masks = rng.random((25, 2_000)) < rng.choice([1.0, 0.3, 0.01], (25, 1))
    found = solve(vectors, queries, {"m": Masks(2_000, list(masks))}, k=30, metric="l2")["m"]
    for query, (rows, distances) in enumerate(selected(vectors, queries, masks, 30)):
        part = slice(found.truth.offsets[query], found.truth.offsets[query + 1])
        assert found.truth.rows[part].tolist() == rows.tolist()
        np.testing.assert_allclose(found.truth.distances[part] ** 2, distances, rtol=1e-4)


def test_the_state_tells_what_it_belongs_to(tmp_path: Path) -> None:
    data = Data()
    solve(data.vectors, data.queries, data.filters(), k=5, work=tmp_path)
    with np.load(tmp_path / truth_state.NAME, allow_pickle=False) as saved:
        settings = json.loads(str(saved["settings"]))
        assert int(saved["next"]) == ROWS
    assert sorted(settings) == ["filters", "ids", "k", "metric", "queries", "vectors"]


def test_any_limit_gives_the_same_answers_in_blocks_that_fit_it() -> None:
    data = Data()
    source = opened(data.vectors)
    whole = solve(data.vectors, data.queries, data.filters(), k=20)
    least = 0
    for limit in range(128, 140):
        try:
            sizes = plan(source, QUERIES, 2, 20, limit << 20)
        except InputError:
            assert not least
            continue
        least = least or limit
        assert 256 <= sizes.rows <= ROWS and 1 <= sizes.queries <= QUERIES
        found = solve(data.vectors, data.queries, data.filters(), k=20, memory_limit=limit << 20)
        same(found["masks"], whole["masks"].truth)
    assert least
    paper = Sized(2_735_264, 4096)
    assert plan(paper, 10_000, 4, 100, 2 << 30).queries > 500
    assert plan(paper, 10_000, 4, 100, 512 << 20).rows > 2_000


class Sized:
    """Vectors that are never read."""

    digest = ""

    def __init__(self, rows: int, dimensions: int) -> None:
        self.rows, self.dimensions = rows, dimensions

    def blocks(self, start: int, size: int) -> Iterator[NDArray[Any]]:
        raise NotImplementedError
