"""faiss on a GPU and cuVS as engines, by stand-ins of their modules on the processor."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faiss")

from fanns.bench.engines import registry
from fanns.bench.engines.batches import BatchEngine
from fanns.bench.engines.cuvs_index import joined_bits
from fanns.bench.engines.engine import AbsentError, Items, UnsupportedError
from fanns.bench.engines.faiss_gpu import code_bytes
from fanns.bench.running.judge import Judge
from fanns.bench.workloads import workload
from tests.bench_fakes import make_workload
from tests.gpu_stand_ins import use_cuvs, use_faiss_gpu
from tests.test_bench_engines import FILTERS, answers, make_items, recall_of

FAISS = ("faiss-gpu-flat", "faiss-gpu-ivf", "faiss-gpu-ivfpq")
CUVS = ("cuvs-brute-force", "cuvs-cagra")
ENGINES = [(name, True) for name in (*FAISS, *CUVS)] + [("faiss-gpu-flat", False)]
K = 10


def opened(name: str, items: Items, folder: Path) -> BatchEngine:
    kind: Any = registry.load(name)
    assert all(kind.version().values())
    engine: BatchEngine = kind(registry.options(name))
    engine.build(items, folder, 1)
    engine.open(items, folder)
    return engine


@pytest.fixture(params=ENGINES, ids=lambda one: f"{one[0]}{'' if one[1] else ' own kernels'}")
def engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> BatchEngine:
    name, cuvs = request.param
    use_faiss_gpu(monkeypatch, cuvs)
    use_cuvs(monkeypatch)
    return opened(name, make_items("cosine"), tmp_path)


def test_every_filter_is_obeyed(engine: BatchEngine) -> None:
    items = make_items("cosine")
    for where, params in FILTERS:
        engine.start(where)
        engine.use(engine.settings()[-1])
        found = answers(engine, items, where, params, K)
        assert recall_of(items, where, params, K, found) >= 0.95, where


def test_a_batch_has_one_filter_or_one_for_each(engine: BatchEngine) -> None:
    items = make_items("cosine")
    engine.start("name = :a")
    engine.use(engine.settings()[-1])
    queries = np.ascontiguousarray(np.resize(items.tune, (13, items.tune.shape[1])))
    params = [{"a": f"c{number % 11}"} for number in range(len(queries))]  # c10: no row has it
    each = engine.search_batch(queries, engine.bind_batch(params), K)
    assert each.shape == (13, K) and each.dtype == np.int64 and (each[10] == -1).all()
    for number, one in enumerate(params):
        mine = [(queries[number], engine.rows(each[number]))]
        assert recall_of(items, "name = :a", one, K, mine) >= 0.9
    shared = engine.search_batch(queries, engine.bind_batch(params[:1]), K)
    found = [(query, engine.rows(rows)) for query, rows in zip(queries, shared, strict=True)]
    assert recall_of(items, "name = :a", params[0], K, found) >= 0.95


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("name", [*FAISS, *CUVS])
def test_metrics(name: str, metric: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_faiss_gpu(monkeypatch, cuvs=True)
    use_cuvs(monkeypatch)
    items = make_items(metric)
    made = opened(name, items, tmp_path)
    for where, params in FILTERS[:2]:
        made.start(where)
        made.use(made.settings()[-1])
        found = answers(made, items, where, params, K)
        assert recall_of(items, where, params, K, found) >= 0.95


@pytest.mark.parametrize("cuvs", [False, True])
def test_lists_take_no_filter_where_selectors_are_ignored(
    cuvs: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Own kernels, and a build that says it holds cuVS but whose kernels do not obey."""
    use_faiss_gpu(monkeypatch, cuvs, heeds=False)
    items = make_items("cosine")
    made = opened("faiss-gpu-ivf", items, tmp_path)
    with pytest.raises(UnsupportedError, match="no heed to selectors"):
        made.start("x < :a")
    made.start(None)
    made.use({"nprobe": 64})
    assert recall_of(items, None, {}, K, answers(made, items, None, {}, K)) >= 0.95
    flat = opened("faiss-gpu-flat", items, tmp_path)
    flat.start("x < :a")
    flat.use({})
    params = {"a": 0.3}
    assert recall_of(items, "x < :a", params, K, answers(flat, items, "x < :a", params, K)) == 1.0


def test_the_judge_sees_an_engine_that_ignores_its_filter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that obeys when it is opened, and not later."""
    module = use_faiss_gpu(monkeypatch, cuvs=True)
    loaded = workload.load(make_workload(tmp_path / "workload"))
    items = Items(np.asarray(loaded.vectors), loaded.attributes, loaded.metric, loaded.queries[:1])
    made: Any = opened("faiss-gpu-flat", items, tmp_path)
    judge, cell = Judge(loaded, K), next(one for one in loaded.cells if one.where)
    judge.enter(cell)
    made.start(cell.where)
    made.use({})

    def violations() -> int:
        found = [made.search(loaded.queries[q], loaded.params[q], K) for q in cell.measure]
        rows = [made.rows(one) for one in found]
        offsets = np.cumsum([0, *map(len, rows)])
        return int(judge.judge(cell.measure, np.concatenate(rows), offsets).violations.sum())

    assert violations() == 0
    made.index.heeds = module._heeds = False
    assert violations() > 0


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FAISS:
        with pytest.raises(AbsentError, match="no GPU part"):
            registry.load(name).version()
    use_faiss_gpu(monkeypatch, cuvs=True, gpus=0)
    with pytest.raises(AbsentError, match="sees no GPU"):
        registry.load("faiss-gpu-flat").version()
    use_cuvs(monkeypatch, devices=0)
    with pytest.raises(AbsentError, match="cuVS sees no GPU"):
        registry.load("cuvs-cagra").version()
    monkeypatch.setitem(sys.modules, "cuvs", None)
    with pytest.raises(AbsentError, match="not installed"):
        registry.load("cuvs-brute-force").version()


def test_bitmaps_follow_without_free_bits() -> None:
    random = np.random.default_rng(3)
    for n in (1, 7, 8, 31, 64, 65):
        masks = random.random((5, n)) < 0.5
        joined = joined_bits([np.packbits(one, bitorder="little") for one in masks], n)
        bits = np.unpackbits(joined, count=5 * n, bitorder="little")
        np.testing.assert_array_equal(bits.reshape(5, n), masks)


def test_codes_divide_the_dimensions() -> None:
    assert [code_bytes(dims, 8) for dims in (384, 64, 100, 7, 1, 1024)] == [48, 8, 4, 1, 1, 64]
