"""The engines that keep attributes themselves, and turbovec: only passing rows, the right ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns.bench.engines import registry
from fanns.bench.engines.engine import AbsentError, Engine, Items, Rows, UnsupportedError
from fanns.bench.workloads.masks import passing

N, WIDTH = 2_000, 32
EXACT = ("duckdb",)
# pgvector's server and LanceDB's graph take longer than a fast test should
ENGINES = [
    "duckdb",
    "turbovec",
    "zvec",
    "qdrant-edge",
    pytest.param("lancedb", marks=pytest.mark.slow),
    pytest.param("pgvector", marks=pytest.mark.slow),
]
FILTERS: list[tuple[str | None, dict[str, Any]]] = [
    (None, {}),
    ("name = :a", {"a": "it's 3"}),
    ("name = :a", {"a": "back\\slash"}),
    ("name = 'c 100%' OR name = 'c1'", {}),
    ("name <> :a", {"a": "c1"}),
    ("name IN :a", {"a": ["c1", "it's 3", "absent"]}),
    ("name NOT IN :a", {"a": ["c1", "it's 3"]}),
    ("name IN :a", {"a": []}),
    ("name NOT IN :a", {"a": []}),
    ("name IS NULL", {}),
    ("name IS NOT NULL AND tags IS NULL", {}),
    ("list_contains(tags, :a)", {"a": "t1"}),
    ("list_has_any(tags, :a)", {"a": ["t0", "t3"]}),
    ("list_has_any(tags, :a)", {"a": []}),
    ("list_has_all(tags, :a)", {"a": ["t0", "t1"]}),
    ("list_has_all(tags, :a)", {"a": []}),
    ("NOT list_has_any(tags, :a)", {"a": ["t0", "t3"]}),
    ("NOT list_has_all(tags, :a)", {"a": ["t0", "t1"]}),
    ("NOT list_contains(numbers, :a)", {"a": 3}),
    ("list_has_any(tags, :a)", {"a": [f"t{i}" for i in range(70)]}),
    ("list_has_all(tags, :a)", {"a": [f"t{i % 2}" for i in range(70)]}),
    ("NOT list_has_any(tags, :a)", {"a": [f"t{i}" for i in range(70)]}),
    ("NOT list_has_all(tags, :a)", {"a": [f"t{i}" for i in range(70)]}),
    ("list_has_any(numbers, [1, 2])", {}),
    ("day >= :a AND day < :b", {"a": date(2020, 3, 1), "b": date(2021, 3, 1)}),
    ("day = :a", {"a": date(2020, 3, 1)}),
    ("day <> DATE '2020-03-01'", {}),
    ("moment > :a", {"a": datetime(2021, 5, 1, 12, 30)}),
    ("x >= :a AND x < :b", {"a": 0.25, "b": 0.5}),
    ("single <= :a", {"a": 0.1}),
    ("NOT (x >= :a AND x < :b)", {"a": 0.25, "b": 1e-5}),
    ("count = :a", {"a": 7}),
    ("count > :a", {"a": -3}),
    ("tiny IN (1, :a)", {"a": 2}),
    ("flag", {}),
    ("NOT flag", {}),
    ("flag = :a AND name = :b", {"a": False, "b": "c1"}),
    ("name = :a AND day >= :b AND x < :c", {"a": "c1", "b": date(2020, 6, 1), "c": 0.6}),
    ("name = :a OR list_has_any(tags, :b) OR x < :c", {"a": "c1", "b": ["t2"], "c": 0.01}),
    ("NOT (name = :a OR list_contains(tags, :b))", {"a": "c1", "b": "t1"}),
    ("NOT (name = :a AND (x < :c OR NOT flag))", {"a": "c1", "c": 0.4}),
    ("name = :a", {"a": "nobody"}),
    ("x > :a", {"a": 2.0}),
    ("count = :a OR count = 10", {"a": 9}),
]


def some(random: np.random.Generator, values: Any, kind: pa.DataType) -> pa.Array:
    """The values, an eighth of them null."""
    gone = random.random(N) < 0.125
    return pa.array([None if no else v for v, no in zip(values, gone, strict=True)], kind)


@pytest.fixture(scope="module")
def items() -> Items:
    random = np.random.default_rng(11)
    vectors = random.normal(size=(N, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = ["c1", "c2", "it's 3", "back\\slash", "c 100%", 'quo"te']
    tags = [[None if t == 4 else f"t{t}" for t in range(n % 6)] for n in random.integers(0, 9, N)]
    days = np.datetime64("2020-01-01") + random.integers(0, 700, N)
    attributes = pa.table(
        {
            "name": some(random, random.choice(names, N), pa.string()).dictionary_encode(),
            "tags": some(random, tags, pa.list_(pa.string())),
            "numbers": some(random, random.integers(0, 5, (N, 2)).tolist(), pa.list_(pa.int32())),
            "day": some(random, days.tolist(), pa.date32()),
            "moment": some(random, days.astype("datetime64[us]").tolist(), pa.timestamp("us")),
            "x": some(random, random.random(N).tolist(), pa.float64()),
            "single": some(random, random.random(N).tolist(), pa.float32()),
            "count": some(random, random.integers(-10, 20, N).tolist(), pa.int64()),
            "tiny": some(random, random.integers(0, 9, N).tolist(), pa.int8()),
            "flag": some(random, (random.random(N) < 0.5).tolist(), pa.bool_()),
        }
    )
    vectors.flags.writeable = False
    return Items(vectors, attributes, "cosine", vectors[:20])


def best(name: str) -> dict[str, Any]:
    """The engine's options with its dearest setting alone."""
    options = registry.options(name)
    return {**options, "settings": options["settings"][-1:]}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: Any, items: Items, tmp_path_factory: Any) -> Iterator[Engine]:
    kind = registry.load(request.param)
    try:
        kind.version()
    except AbsentError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp(request.param)
    builder = kind(best(request.param))
    builder.build(items, folder, 2)
    made = kind(best(request.param))
    made.open(items, folder)
    assert made.size(folder) > 0
    yield made
    made.close()


def recall(items: Items, query: Any, found: Rows, mask: Any, k: int) -> float:
    """Share of the min(k, matches) nearest passing rows that were found."""
    scores = items.vectors @ query
    wanted = min(k, int(mask.sum()))
    if wanted == 0:
        return 1.0
    least = np.sort(scores[mask])[-wanted] - 1e-6
    return float((scores[found] >= least).sum() / wanted)


@pytest.mark.parametrize("k", [10, 40])
def test_answers(engine: Engine, items: Items, k: int) -> None:
    random = np.random.default_rng(3)
    queries = random.normal(size=(4, WIDTH)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    recalls, answered = [], 0
    for where, params in FILTERS:
        mask = np.ones(N, bool) if where is None else passing(items.attributes, where, params)
        try:
            engine.start(where)
        except UnsupportedError:
            continue
        answered += 1
        for setting in engine.settings():
            engine.use(setting)
            for query in queries:
                found = engine.rows(engine.search(query, params, k))
                assert len(set(found)) == len(found) <= min(k, int(mask.sum())), where
                assert np.all((found >= 0) & (found < N)), where
                assert mask[found].all(), where
                recalls.append(recall(items, query, found, mask, k))
    assert answered >= len(FILTERS) - 1
    if engine.name in EXACT:
        assert min(recalls) == 1.0
    assert np.mean(recalls) >= 0.95


def test_every_setting_is_taken(engine: Engine, items: Items) -> None:
    engine.start("name = :a")
    for setting in registry.options(engine.name)["settings"]:
        engine.use(setting)
        assert len(engine.rows(engine.search(items.vectors[0], {"a": "c1"}, 5))) == 5
    engine.start(None)
    engine.use(engine.settings()[0])
    assert engine.rows(engine.search(items.vectors[7], {}, 1)).tolist() == [7]


def test_prepared_filters_answer_alike(engine: Engine, items: Items) -> None:
    if "prepared" not in engine.modes:
        pytest.skip(f"{engine.name} has no prepared filters")
    engine.start("name = :a")
    engine.use(engine.settings()[-1])
    bound = engine.bind({"a": "c1"})
    direct = engine.rows(engine.search(items.vectors[3], {"a": "c1"}, 9))
    assert engine.rows(engine.search_bound(items.vectors[3], bound, 9)).tolist() == direct.tolist()


def test_unknown_columns_are_refused(engine: Engine) -> None:
    with pytest.raises(UnsupportedError):
        engine.start("colour = 'red'")


@pytest.mark.slow
def test_the_server_dies_with_its_parent(tmp_path: Path) -> None:
    from fanns.bench.engines import pg_server

    try:
        pg_server.programs()
    except AbsentError as error:
        pytest.skip(str(error))
    pg_server.initialise(tmp_path / "data")
    script = (
        "import os, sys; from pathlib import Path; from fanns.bench.engines import pg_server\n"
        "server = pg_server.Server(Path(sys.argv[1]), {})\n"
        "print(server.process.pid, server.socket, flush=True); os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "data")], capture_output=True, text=True
    )
    assert done.returncode == 9, done.stderr
    server, socket = done.stdout.split()
    end = time.monotonic() + 20
    while _state(int(server)) != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    shutil.rmtree(socket)
    assert _state(int(server)) == "Z"


def _state(process: int) -> str:
    """Z where the process has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
