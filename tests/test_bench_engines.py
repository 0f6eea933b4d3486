"""Every engine that is applied from posting lists: built, opened and searched, against exact."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns.bench.engines import registry
from fanns.bench.engines.engine import AbsentError, Engine, Items, UnsupportedError
from fanns.bench.engines.rows import Postings
from fanns.datasets.exact import distances
from fanns.errors import InputError

N, DIMS = 1_500, 32
ENGINES = [
    "fanns",
    "exact",
    "faiss-flat",
    "faiss-hnsw",
    "faiss-ivf",
    "faiss-ivfpq",
    "faiss-rabitq",
    "hnswlib",
    "usearch",
    "slice",
    "subindex",
]
EXACT = ("exact", "faiss-flat", "slice")

# One filter of each family, with parameters; the last two match nothing and three rows.
FILTERS: list[tuple[str | None, dict[str, Any]]] = [
    (None, {}),
    ("name = :a", {"a": "c3"}),
    ("name IN :a", {"a": ["c1", "c5", "zz"]}),
    ("list_contains(tags, :a)", {"a": "t4"}),
    ("list_has_any(tags, :a)", {"a": ["t1", "t2"]}),
    ("list_has_all(tags, :a)", {"a": ["t1", "t2"]}),
    ("day >= :a AND day < :b", {"a": date(2012, 1, 1), "b": date(2014, 1, 1)}),
    ("x >= :a AND x < :b", {"a": 0.1, "b": 0.9}),
    ("name = :a AND x < :b", {"a": "c2", "b": 0.5}),
    ("name = :a AND x < :b AND day >= :c", {"a": "c0", "b": 0.7, "c": date(2012, 6, 1)}),
    ("name = :a OR list_contains(tags, :b)", {"a": "c6", "b": "t0"}),
    ("NOT name = :a", {"a": "c1"}),
    ("x < :a", {"a": 0.02}),
    ("name = :a", {"a": "nobody"}),
    ("number < :a", {"a": 3}),
]


def make_items(metric: str, n: int = N) -> Items:
    """Clustered vectors with names of clusters, lists (some empty), days, numbers and nulls."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(10, DIMS))
    clusters = random.integers(0, 10, n)
    vectors = (centres[clusters] + 0.6 * random.normal(size=(n, DIMS))).astype(np.float32)
    tune = (centres[random.integers(0, 10, 8)] + 0.6 * random.normal(size=(8, DIMS))).astype("f4")
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tune /= np.linalg.norm(tune, axis=1, keepdims=True)
    names = [
        None if gone else f"c{c}" for c, gone in zip(clusters, random.random(n) < 0.05, strict=True)
    ]
    lists = [
        None if size == 4 else [f"t{t}" for t in random.integers(0, 6, size)]
        for size in random.integers(0, 5, n)
    ]
    days = pa.array(random.integers(15_000, 16_500, n), pa.int32()).cast(pa.date32())
    table = pa.table(
        {
            "name": pa.array(names, pa.string()),
            "tags": pa.array(lists, pa.list_(pa.string())),
            "day": days,
            "x": pa.array(random.random(n)),
            "number": pa.array(np.arange(n)),
        }
    )
    vectors.flags.writeable = False
    return Items(vectors, table, metric, tune)


def class_of(name: str) -> type[Engine]:
    kind = registry.load(name)
    try:
        assert all(kind.version().values())
    except AbsentError as error:
        pytest.skip(str(error))
    return kind


def opened(name: str, items: Items, folder: Path, threads: int = 1) -> Engine:
    kind = class_of(name)
    kind(registry.options(name), threads).build(items, folder, 1)
    engine = kind(registry.options(name), threads)
    engine.open(items, folder)
    return engine


@pytest.fixture(scope="module")
def items() -> Items:
    return make_items("cosine")


@pytest.fixture(scope="module", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, items: Items, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp(request.param)
    made = opened(request.param, items, folder)
    assert (made.size(folder) > 0) == (request.param not in (*EXACT, "subindex"))
    yield made
    made.close()


def answers(engine: Engine, items: Items, where: str | None, params: Any, k: int) -> list[Any]:
    """The rows that each mode gives for each sample query."""
    out = []
    for query in items.tune:
        for mode in engine.modes:
            if mode == "prepared":
                answer = engine.search_bound(query, engine.bind(params), k)
            else:
                answer = engine.search(query, params, k)
            engine.work(answer)
            out.append((query, engine.rows(answer)))
    return out


def recall_of(items: Items, where: str | None, params: Any, k: int, found: list[Any]) -> float:
    """Mean recall; fails on a row that does not pass, is repeated or is none."""
    made = Postings(items.attributes).compile(where)
    passing = np.arange(len(items.vectors)) if made is None else np.sort(made.find(params).rows())
    shares = []
    for query, rows in found:
        assert rows.dtype == np.int64
        assert len(set(rows.tolist())) == len(rows) <= min(k, len(passing))
        assert np.isin(rows, passing).all()
        if not len(passing):
            continue
        true = np.sort(distances(items.vectors[passing], query, items.metric))[:k]
        mine = distances(items.vectors[rows], query, items.metric)
        assert np.all(np.diff(mine) >= -1e-3)  # usearch orders by 16-bit floats
        shares.append(np.count_nonzero(mine <= true[-1] + 1e-6) / len(true))
    return float(np.mean(shares)) if shares else 1.0


@pytest.mark.parametrize(("where", "params"), FILTERS, ids=lambda x: str(x)[:60])
def test_a_high_setting_finds_nearly_all(
    engine: Engine, items: Items, where: str | None, params: dict[str, Any]
) -> None:
    if engine.kind == "oracle" and where is None:
        with pytest.raises(UnsupportedError, match="without a filter"):
            engine.start(where)
        return
    engine.start(where)
    engine.use(engine.settings()[-1])
    found = answers(engine, items, where, params, 10)
    recall = recall_of(items, where, params, 10, found)
    assert recall == 1.0 if engine.name in EXACT else recall >= 0.95


def test_low_settings_break_no_filter(engine: Engine, items: Items) -> None:
    where, params = "name = :a AND x < :b", {"a": "c2", "b": 0.5}
    engine.start(where)
    for setting in engine.settings()[:2]:
        engine.use(setting)
        recall_of(items, where, params, 10, answers(engine, items, where, params, 10))


def test_k_beyond_the_matches(engine: Engine, items: Items) -> None:
    where, params = "name = :a AND x < :b", {"a": "c2", "b": 0.1}
    engine.start(where)
    engine.use(engine.settings()[-1])
    found = answers(engine, items, where, params, 100)
    assert recall_of(items, where, params, 100, found) >= 0.95


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("name", ENGINES)
def test_other_metrics(name: str, metric: str, tmp_path: Path) -> None:
    items = make_items(metric, 800)
    engine = opened(name, items, tmp_path)
    engine.start("x < :a")
    engine.use(engine.settings()[-1])
    found = answers(engine, items, "x < :a", {"a": 0.3}, 10)
    assert recall_of(items, "x < :a", {"a": 0.3}, 10, found) >= 0.95
    engine.close()


def test_work_that_is_told(engine: Engine, items: Items) -> None:
    engine.start("x < :a")
    engine.use(engine.settings()[-1])
    told = []
    for query in items.tune[:5]:
        answer = engine.search_bound(query, engine.bind({"a": 0.5}), 10)
        told.append(engine.work(answer))
    if engine.name in ("hnswlib", "subindex"):
        assert {work.distances for work in told} == {None}
    else:
        assert all(0 < (work.distances or 0) <= 4 * N for work in told)
    assert {work.status for work in told} <= {None, "exact", "approximate"}


def test_each_engine_says_which_modes_it_has() -> None:
    for name in registry.names():
        options = registry.options(name)
        assert options["settings"]
    with pytest.raises(InputError, match="no engine 'none'"):
        registry.load("none")
    with pytest.raises(InputError, match="cannot be loaded"):
        registry.load("fanns.bench.engines.rows:Nobody")
    with pytest.raises(InputError, match="not a class derived"):
        registry.load("fanns.bench.engines.rows:Postings")
    assert registry.load("fanns.bench.engines.exact:Exact").name == "exact"


def test_settings_of_the_callers_own(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[engines.faiss-hnsw]\nbuild = {m = 16}\nsettings = [{ef_search = 7}]\n")
    assert registry.options("faiss-hnsw", own)["settings"] == [{"ef_search": 7}]
    assert registry.options("fanns", own) == registry.options("fanns")
    own.write_text("[engines.exact]\nsettings = 3\n")
    with pytest.raises(InputError, match="expected build"):
        registry.options("exact", own)
    own.write_text("engines = 3")
    with pytest.raises(InputError, match="expected sections"):
        registry.options("exact", own)
    with pytest.raises(InputError, match="cannot be read"):
        registry.options("exact", tmp_path / "none.toml")
