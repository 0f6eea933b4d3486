"""The comparison with faiss: its workload, its judgement, and a run on few rows."""

import json
import sys
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from fanns.bench.compare import PEERS, judge_bars, main
from fanns.bench.measure import Judge, Result, compare, tune
from fanns.bench.workload import BUCKETS, Cell, Condition, Postings, add_truth, make_cells, recall


def papers(rows: int, seed: int) -> pa.Table:
    """A table like the one that `load` makes."""
    rng = np.random.default_rng(seed)
    names = np.array(["cs.LG", "math.AG", "hep-ph", "astro-ph"])
    lists = [sorted({*rng.choice(names, rng.integers(1, 4))}) for _ in range(rows)]
    vectors = rng.standard_normal((rows, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = {
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8),
        "categories": lists,
        "primary_category": [values[0] for values in lists],
        "submitted_date": pa.array(rng.integers(9000, 9900, rows).astype(np.int32), pa.date32()),
    }
    return pa.table(table | {"bucket": pa.array(rng.integers(0, BUCKETS, rows), pa.int32())})


def passes(row: dict[str, Any], params: dict[str, Any], where: str) -> bool:
    """The filter of a cell, in plain Python."""
    fine = True
    if "category" in params:
        fine &= params["category"] in row["categories"]
    if "first" in params:
        column = "bucket" if "bucket" in where else "submitted_date"
        fine &= params["first"] <= row[column] <= params["last"]
    return fine


def test_peers_get_the_rows_that_the_text_says() -> None:
    table = papers(400, 1)
    postings = Postings(table)
    rows = table.drop_columns("embedding").to_pylist()
    cells = make_cells(table, papers(6, 2))
    assert len(cells) == 9
    for cell in cells[1:]:
        assert cell.where is not None
        for params, condition in zip(cell.params, cell.conditions, strict=True):
            expected = [i for i, row in enumerate(rows) if passes(row, params, cell.where)]
            assert sorted(postings.rows(condition).tolist()) == expected
    assert isinstance(cells[6].params[0]["first"], date)


def test_recall_admits_ties_and_counts_a_row_once() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.6, 0.8], [0, 1]], np.float32)
    query = vectors[0]
    assert recall(np.array([1]), query, vectors, -1.0, 1) == 1
    assert recall(np.array([1, 1, -1]), query, vectors, -0.6, 3) == pytest.approx(1 / 3)
    assert recall(np.array([0, 1, 3]), query, vectors, -0.6, 3) == pytest.approx(2 / 3)
    assert recall(np.array([], np.int64), query, vectors, -np.inf, 0) == 1


class Fake:
    """An engine that finds the first `setting` of the ten nearest rows."""

    settings: Sequence[Any] = (2, 4, 6, 8, 9, 10)
    filter_seconds = 0.0

    def __init__(self, name: str, nearest: np.ndarray[Any, Any]) -> None:
        self.name = name
        self.nearest = nearest
        self.asked: list[int] = []

    def prepare(self, cell: Cell, query: int) -> None:
        """Nothing."""

    def search(self, cell: Cell, query: int, setting: int) -> np.ndarray[Any, Any]:
        self.asked.append(query)
        return np.asarray(self.nearest[query, :setting])


def test_tuning_and_measuring() -> None:
    rng = np.random.default_rng(3)
    vectors, queries = (rng.standard_normal((n, 4)).astype(np.float32) for n in (200, 12))
    cell = Cell("unfiltered", None, [{}] * 12, [Condition()] * 12)
    add_truth([cell], Postings(papers(200, 1)), vectors, queries, 10)
    judge = Judge(vectors, queries, 10)
    nearest = np.argsort(-(queries.astype(float) @ vectors.astype(float).T), axis=1)
    engines = [Fake("one", nearest), Fake("two", nearest)]
    assert tune(engines[0], cell, range(0, 12, 2), judge, 0.85) == (9, True)
    assert tune(engines[0], cell, range(0, 12, 2), judge, 0.05) == (2, True)
    assert tune(engines[0], cell, range(0, 12, 2), judge, 1.1) == (10, False)
    for engine in engines:
        engine.asked.clear()
    results = compare(engines, cell, range(0, 12, 2), range(1, 12, 2), judge, 0.75, 3)
    assert [r.setting for r in results] == [8, 8]
    assert [r.recall for r in results] == [pytest.approx(0.8)] * 2
    for engine in engines:
        measured = [query for query in engine.asked if query % 2]
        assert measured == [1, 3, 5, 7, 9, 11], "each once, in rounds"


def test_bars() -> None:
    def result(cell: str, engine: str, *rounds: float) -> Result:
        return Result(cell, engine, 1, True, 0.96, 0.0, rounds, 0.0, 0.0, 0.0)

    bars = tomllib.loads(PEERS.read_text(encoding="utf-8"))["bars"]
    judged = judge_bars(
        [
            result("unfiltered", "fanns", 10, 10, 90),
            result("unfiltered", "faiss_hnsw", 12, 11, 10),
            result("random 1 %", "fanns", 10, 10, 10),
            result("random 1 %", "faiss_flat", 9, 9, 9),
        ],
        bars,
    )
    assert [(bar["cell"], bar["met"]) for bar in judged] == [
        ("unfiltered", True),
        ("random 1 %", False),
    ]
    names = {cell.name for cell in make_cells(papers(300, 1), papers(2, 2))}
    assert {cell for bar in bars for cell in bar["cells"]} <= names


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_on_few_rows(arxiv_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    output = tmp_path / "report.json"
    done = CliRunner().invoke(
        main,
        f"--data {arxiv_folder} --rows 3000 --queries 40 --rounds 2 --cell unfiltered "
        f"--cell 'random 1 %' --json {output}",
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    report = json.loads(output.read_text())
    assert {r["engine"] for r in report["results"]} == {
        "fanns",
        "faiss_hnsw",
        "faiss_flat",
        "slice",
    }
    assert all(r["recall"] > 0.9 for r in report["results"])
    assert report["disk"]["ratio"] > 1
    assert report["memory"]["after_search"] > 0
    assert "private memory" in done.output
