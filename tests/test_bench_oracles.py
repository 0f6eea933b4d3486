"""Oracles: which filters are drawn, how classes are judged, and tiny runs."""

import csv
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest

import fanns
from fanns.bench.proofs import oracles_judged
from fanns.bench.proofs.asking import Asking, Taken, nearest, recalls
from fanns.bench.proofs.oracle_cells import Cell, Intervals, cells
from fanns.bench.proofs.oracles import Measured, measure
from fanns.bench.proofs.rows import Rows, index_over, rows_of
from fanns.bench.workloads import truth
from fanns.bench.workloads.masks import passing
from fanns.cli import FAILED, run
from fanns.errors import InputError

N = 4_000


def attributes(rows: int = N) -> pa.Table:
    """Dates with few rows each, a column of one in ten, one in a hundred ..., and lists."""
    rng = np.random.default_rng(5)
    shares = [0.3, 0.1, 0.05, 0.01, 0.54]
    names = rng.choice(["a", "b", "c", "d", "rest"], rows, p=shares)
    tags = [["x"] * 2 if drawn < 0.2 else None if drawn < 0.3 else [] for drawn in rng.random(rows)]
    days = pa.array(rng.integers(14_000, 16_000, rows), pa.int32(), mask=rng.random(rows) < 0.1)
    return pa.table({"day": days.cast(pa.date32()), "name": names.tolist(), "tags": tags})


def some_rows(rows: int = N, queries: int = 15) -> Rows:
    rng = np.random.default_rng(3)
    made = rng.standard_normal((rows + queries, 16))
    made += rng.standard_normal((20, 16))[rng.integers(0, 20, rows + queries)]
    made /= np.linalg.norm(made, axis=1)[:, None]
    vectors = made.astype(np.float32)
    held, asked = vectors[:rows], vectors[rows:]
    return Rows(held, vectors[:0], asked, "cosine", "drawn", attributes(rows))


def share(table: pa.Table, cell: Cell) -> float:
    return float(passing(table, cell.where, cell.params).mean())


def test_cells_pass_about_the_rows_that_were_wanted() -> None:
    table = attributes()
    found = cells(table, "day", ["name", "tags"], 4)
    ranges = [cell for cell in found if cell.kind == "range"]
    assert [cell.size for cell in ranges] == [
        size for size in (0.001, 0.01, 0.1, 0.5) for _ in "1234"
    ]
    for cell in ranges:
        assert share(table, cell) == pytest.approx(cell.size, rel=0.6 if cell.size < 0.01 else 0.25)
        assert type(cell.params["low"]) is date
    labels = {cell.size: cell for cell in found if cell.kind == "label"}
    values = {size: cell.params["value"] for size, cell in labels.items()}
    assert values == {0.01: "d", 0.05: "c", 0.1: "b", 0.2: "x", 0.3: "a"}
    assert "list_contains" in labels[0.2].where
    assert share(table, labels[0.2]) == pytest.approx(0.2, rel=0.1)
    both = [cell for cell in found if cell.kind == "both"]
    assert {cell.group for cell in both} == {
        f"{width} % and {size} %" for width in (10, 50) for size in (10, 30)
    }
    assert all(0.001 < share(table, cell) < 0.3 for cell in both)
    assert cells(table, "day", ["name", "tags"], 4) == found


def test_only_what_is_asked_for_is_drawn() -> None:
    found = cells(attributes(), "day", ["name"], 1, [0.1], [0.05])
    assert [(cell.kind, cell.size) for cell in found] == [("range", 0.1), ("label", 0.05)]
    assert [cell.kind for cell in cells(attributes(), "day", ["name"], 1, [0.01], [0.003])] == [
        "range"
    ]


def test_columns_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="no column 'none' among the attributes: day, name, tags"):
        Intervals(attributes(), "none")
    with pytest.raises(InputError, match=r"column 'tags'.*no ranges"):
        Intervals(attributes(), "tags")
    with pytest.raises(InputError, match="no column 'none'"):
        cells(attributes(), "day", ["none"], 1)
    with pytest.raises(InputError, match="holds no value"):
        Intervals(pa.table({"x": pa.array([None, None], pa.int32())}), "x")


def test_recall_admits_ties_and_nothing_to_find() -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 1], [5, 5]], np.float32)
    queries = np.zeros((3, 2), np.float32)
    best = [np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.empty(0)]
    ids = [np.array([0, 2]), np.array([0, 3]), np.array([], np.int64)]
    assert recalls(vectors, queries, ids, best, "l2").tolist() == [1.0, 0.5, 1.0]


def test_queries_are_asked_under_their_own_filters() -> None:
    rows = some_rows(500, 6)
    with index_over(rows, None, ["name"]) as index:
        filters = [("name = :v", {"v": value}) for value in "ab" * 3]
        asking = Asking(index, rows.queries, filters, 5, 1.0)
        told = asking.answered()
        solved = truth.solve(
            rows.vectors, attributes(500), rows.queries,
            [where for where, _ in filters], [params for _, params in filters], depth=5,
        )  # fmt: skip
        for number, ids in enumerate(told.ids):
            own = slice(solved.offsets[number], solved.offsets[number + 1])
            assert set(ids.tolist()) == set(solved.rows[own].tolist())
        assert recalls(rows.vectors, rows.queries, told.ids, nearest(solved)).min() == 1.0
        assert sum(told.paths.values()) == 6
        taken = asking.timed()
        assert taken.shape == (6,) and (taken > 0).all()


def test_oracles_are_measured() -> None:
    rows = some_rows()
    asked = cells(rows.attributes, "day", ["name"], 1, [0.01, 0.5], [0.1])
    asked.append(Cell("label", "10 %", 0.1, "name = :value", {"value": "nobody"}))
    with index_over(rows, None, ["day", "name"], range_index=["day"]) as index:
        assert "range" in index.info()["columns"]["day"]["graphs"]
        found = list(measure(index, rows, asked, 2))
    assert [one.cell for one in found] == asked[:-1]  # nobody passes the last
    for one in found:
        assert one.matches == passing(rows.attributes, one.cell.where, one.cell.params).sum()
        for side in (one.filtered, one.oracle):
            assert len(side.seconds) == 2 and side.typical.shape == (15,)
            assert sum(side.paths.values()) == 15 and side.recalls.mean() >= 0.85


def test_an_index_is_kept_until_its_columns_or_options_change(tmp_path: Path) -> None:
    rows = some_rows(300)
    stamp, times = tmp_path / "rows.json", []
    both = ["name", "day"]
    kept: list[tuple[list[str], dict[str, Any]]]
    kept = [(["name"], {}), (["name"], {}), (both, {}), (both, {"bits": 1})]
    for names, options in kept:
        with index_over(rows, tmp_path, names, **options) as index:
            assert set(index.schema) == set(names)
        times.append(stamp.stat().st_mtime_ns)
    assert times[0] == times[1] < times[2] < times[3]


def made(
    size: float, micros: float, recall: float = 0.96, kind: Literal["range", "label"] = "range"
) -> Measured:
    """A cell where the oracle takes 100 microseconds."""

    def side(taken: float) -> Taken:
        return Taken(np.full(20, recall), {"scan": 20}, [np.full(20, taken / 1e6)] * 3)

    cell = Cell(kind, f"{100 * size:g} %", size, "x < :a", {"a": micros})
    return Measured(cell, 100, side(micros), side(100.0))


def test_classes_are_judged_by_their_mean_times() -> None:
    measured = [made(0.1, 100), made(0.1, 154), made(0.2, 140, kind="label")]
    found = oracles_judged.judge(measured, ["how"], [0.1, 0.5], [0.2])
    assert [bar.state for bar in found.bars] == ["met", "not measured", "MISSED", "met", "met"]
    assert "1.27x (1.00 … 1.54)" in found.bars[0].found and not found.passed
    assert found.rows[1]["ratio"] == pytest.approx(1.54)
    poor = oracles_judged.judge([made(0.1, 100, 0.9)], ["how"], [0.1], [])
    assert [bar.state for bar in poor.bars] == ["met", "MISSED", "MISSED"]
    none = oracles_judged.judge([], ["how"], [0.1], [])
    assert {bar.state for bar in none.bars} == {"not measured"}


def test_the_command_writes_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--workload", "synthetic-1500x8", "--queries", "5", "--rounds", "2", "-q"]
    asked += ["--intervals", "1", "--width", "0.1", "--size", "0.1", "--label", "archive"]
    folder = tmp_path / "index"
    assert run(["bench", "oracles", *asked, "--index", str(folder), "-o", str(tmp_path)]) == 0
    assert "interval of 10 % of the rows" in capsys.readouterr().out
    with (tmp_path / "oracles.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    assert [row["kind"] for row in records] == ["range", "label", "both"]
    assert "| to be shown |" in (tmp_path / "oracles.md").read_text(encoding="utf-8")
    with fanns.open(folder / "index") as index:
        assert set(index.schema) == {"update_date", "archive"}
    assert run(["bench", "oracles", *asked, "--range", "archive"]) == FAILED
    assert "no ranges" in capsys.readouterr().err


def test_workloads_bring_their_attributes() -> None:
    rows = rows_of("synthetic-100x4")
    assert rows.attributes is not None and rows.attributes.num_rows == 100
    assert {"update_date", "archive"} <= set(rows.attributes.column_names)
