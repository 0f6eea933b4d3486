"""Filters of every family: what they promise, against DuckDB and exact distances."""

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.bench.workloads import drafts, families, grid, making, synthetic
from fanns.bench.workloads.board import Corpus, Declaration
from fanns.bench.workloads.grid import asked, matching
from fanns.bench.workloads.workload import Workload, load
from fanns.datasets import arxiv_like, exact
from fanns.errors import InputError

CELLS = (
    *("none", "random-0.05-none", "equality-0.02-positive", "equality-0.02-negative"),
    *("in-0.2-positive", "in-0.2-none", "in-0.2-negative", "contains_one-0.02-positive"),
    *("contains_any-0.1-negative", "contains_all-0.01-positive", "range_date-0.1-positive"),
    *("range_date-1-none", "range_float-0.05-none", "and2-0.05-positive", "and3-0.02-negative"),
    *("or-0.1-none", "not-1-negative", "not-0.5-none", "em", "r", "emis"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """A workload with a cell of every family over 3,000 simulated rows."""
    corpus = synthetic.corpus(3_000, 24, 40)
    told: list[str] = []
    corpus, kept = making.plan(
        corpus, synthetic.DECLARATION, [asked(name) for name in CELLS], told.append
    )
    assert told == []
    folder = tmp_path_factory.mktemp("made")
    return load(making.make(folder, corpus, kept, "small", depth=20))


@pytest.fixture(scope="module")
def duck(made: Workload) -> Iterator[Any]:
    duckdb = pytest.importorskip("duckdb", reason="duckdb judges the filters")
    connection = duckdb.connect()
    rows = pa.array(range(made.attributes.num_rows))
    connection.register("arrow_rows", made.attributes.append_column("row_number", rows))
    connection.execute("CREATE TABLE rows AS SELECT * FROM arrow_rows")
    yield connection
    connection.close()


def literal(value: Any, brackets: str) -> str:
    """A value as DuckDB's SQL."""
    if isinstance(value, list):
        return brackets[0] + ", ".join(literal(one, "[]") for one in value) + brackets[1]
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value}'"
    return f"DATE '{value}'" if isinstance(value, date) else repr(value)


def filled(where: str, params: dict[str, Any]) -> str:
    """A filter text with its parameters in place."""
    for name, value in params.items():
        where = where.replace(f"IN :{name}", f"IN {literal(value, '()')}")
        where = where.replace(f":{name}", literal(value, "[]"))
    return where


def test_truth_is_that_of_duckdb_and_plain_distances(made: Workload, duck: Any) -> None:
    assert {cell.family for cell in made.cells} == set(drafts.FAMILIES)
    for cell in made.cells:
        for query in [*cell.measure[:3].tolist(), *cell.tune[:1].tolist()]:
            where = filled(cell.where, dict(made.params[query])) if cell.where else "TRUE"
            found = duck.execute(f"SELECT row_number FROM rows WHERE {where}").fetchall()
            passing = np.array([row for (row,) in found], np.int64)
            assert made.matches[query] == len(passing), cell.name
            distances = exact.distances(made.vectors[passing], made.queries[query])
            part = slice(made.truth_offsets[query], made.truth_offsets[query + 1])
            wanted = np.sort(distances)[: made.depth]
            np.testing.assert_allclose(made.truth_distances[part], wanted, atol=1e-12)
            assert set(made.truth_rows[part]) <= set(passing.tolist())


def test_cells_are_what_their_names_say(made: Workload) -> None:
    assert [cell.name for cell in made.cells] == list(CELLS)
    for cell in made.cells:
        told = asked(cell.name)
        assert (cell.family, cell.target, cell.correlation) == (
            *(told.family, told.target, told.correlation),
        )
        assert len(cell.measure) == 32 and len(cell.tune) == 8
        if cell.target is not None:
            assert cell.target / 2 <= cell.selectivity <= cell.target * 2
        if cell.correlation == "positive":
            assert cell.affinity > 0.05
        if cell.correlation == "negative":
            assert cell.affinity < (-0.05 if cell.selectivity < 0.5 else 0.0)


def test_every_query_vector_is_in_every_cell_once_and_keeps_its_role(made: Workload) -> None:
    def vectors(numbers: np.ndarray[Any, Any]) -> list[bytes]:
        return sorted(made.queries[number].tobytes() for number in numbers)

    first = made.cells[0]
    assert len(set(vectors(first.measure)) | set(vectors(first.tune))) == 40
    for cell in made.cells:
        assert vectors(cell.measure) == vectors(first.measure)
        assert vectors(cell.tune) == vectors(first.tune)


def test_positive_filters_ask_for_the_query_s_own_category() -> None:
    corpus = synthetic.corpus(3_000, 24, 40)
    cells = [asked("in-0.2-positive"), asked("not-1-negative")]
    corpus, kept = making.plan(corpus, synthetic.DECLARATION, cells, print)
    own = corpus.asked["primary_category"].to_pylist()
    for near, left_out, category in zip(
        kept[0].draft.params, kept[1].draft.params, own, strict=True
    ):
        assert category in near["chosen"]
        assert left_out["chosen"] == [category]


def test_the_paper_s_families(made: Workload) -> None:
    em, r, emis = (cell for cell in made.cells if cell.family in ("em", "r", "emis"))
    counts = made.attributes["number_of_sub_categories"].to_pylist()
    assert {made.params[i]["label"] for i in em.measure} <= set(counts)
    shares = made.matches[np.concatenate([r.measure, r.tune])] / made.attributes.num_rows
    assert shares.min() > 0.08 and shares.max() < 0.9 and shares.std() > 0.1
    for query in emis.measure.tolist():
        label = made.params[query]["label"]
        assert any(label in own for own in made.attributes["main_categories"].to_pylist())
        assert "." not in label


def test_the_same_seed_gives_the_same_filters() -> None:
    def params() -> list[Any]:
        corpus = synthetic.corpus(1_000, 8, 10)
        cells = [asked(name) for name in ("in-0.2-none", "r", "and2-0.1-positive")]
        return [c.draft.params for c in making.plan(corpus, synthetic.DECLARATION, cells, print)[1]]

    assert params() == params()


def test_cells_that_the_data_cannot_give_are_left_out_and_said_so() -> None:
    corpus = synthetic.corpus(500, 8, 10)
    told: list[str] = []
    cells = [asked("equality-1-none"), asked("in-0.0001-none"), asked("range_date-0.5-none")]
    bare = Declaration(equality=("primary_category",), random=False)
    _, kept = making.plan(corpus, bare, cells, told.append)
    assert kept == []
    assert "no value with about 500 rows (primary_category)" in told[0]
    assert "of the rows pass, not about 0.0001" in told[1]
    assert "names no column of date or timestamp" in told[2]
    with pytest.raises(ValueError, match="no cell is left"):
        making.make(Path("unused"), corpus, kept, "none")


def test_a_filter_that_leans_is_not_none() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((400, 4)).astype(np.float32)
    near = vectors[:, 0] > 1.0
    table = pa.table({"near": pa.array(near)})
    queries = np.tile(np.array([1, 0, 0, 0], np.float32), (20, 1))
    corpus = Corpus(vectors, table, queries, pa.table({}))
    told: list[str] = []
    cells = [asked("equality-0.2-none"), asked("equality-0.2-positive")]
    declaration = Declaration(equality=("near",))
    _, kept = making.plan(corpus, declaration, cells, told.append)
    assert [cell.asked.name for cell in kept] == ["equality-0.2-positive"]
    assert "which is not none" in told[0]


def test_columns_with_nulls_and_strange_names() -> None:
    rng = np.random.default_rng(2)
    n = 600
    words = [None if i % 7 == 0 else "abc"[i % 3] for i in range(n)]
    lists = [
        None if i % 5 == 0 else [] if i % 5 == 1 else ["x", "x", "yz"[i % 2]] for i in range(n)
    ]
    table = pa.table(
        {
            "select": words,
            "Two Words": lists,
            "when": pa.array([None if i % 4 == 0 else i * 1_000 for i in range(n)]).cast(
                pa.timestamp("ms")
            ),
        }
    )
    vectors = rng.standard_normal((n, 6)).astype(np.float32)
    corpus = Corpus(vectors, table, vectors[:12] + np.float32(0.1), pa.table({}), metric="l2")
    declaration = Declaration(("select",), ("Two Words",), ("when",))
    names = [
        *("in-0.5-none", "contains_one-0.2-none", "contains_all-0.5-none", "range_date-0.2-none"),
        *("not-0.5-none", "and2-0.2-none", "or-0.5-none", "and3-0.1-none"),
    ]
    told: list[str] = []
    _, kept = making.plan(corpus, declaration, [asked(name) for name in names], told.append)
    assert told == []
    wheres = [cell.draft.where for cell in kept]
    assert wheres[0] == '"select" IN :chosen'
    assert wheres[1] == 'list_contains("Two Words", :value)'


def test_fixed_lists_cover_what_they_should() -> None:
    for names in (grid.SHORT, grid.QUICK):
        assert len(names) == len(set(names)) <= 24
    cells = [asked(name) for name in grid.SHORT]
    assert {cell.family for cell in cells} == set(drafts.FAMILIES)
    assert {cell.target for cell in cells} >= set(grid.SELECTIVITIES)
    assert {cell.correlation for cell in cells} >= set(grid.CORRELATIONS)
    everything = [cell.name for cell in grid.grid()]
    assert set(grid.SHORT) | set(grid.QUICK) <= set(everything)
    assert len(everything) == len(set(everything)) > 200
    assert [cell.name for cell in matching(cells, ("in-*-positive",))] == ["in-0.1-positive"]
    for wrong in ("in", "em-0.1-none", "in-0-none", "in-2-none", "in-x-none", "in-0.1-some", "x"):
        with pytest.raises(ValueError, match="cell"):
            asked(wrong)


def test_named_workloads_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANNS_BENCH_DIR", str(tmp_path))
    monkeypatch.delenv("FANNS_BENCH_DATA", raising=False)
    told: list[str] = []
    monkeypatch.setattr(families, "QUERIES", 20)
    folder = families.named("synthetic-2000x8", say=told.append)
    assert folder == tmp_path / "workloads" / "synthetic-2000x8"
    found = load(folder)
    assert found.vectors.shape == (2_000, 8) and found.name == "synthetic-2000x8"
    assert len(found.cells) + len(told) == len(grid.SHORT)
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    assert families.named("synthetic-2000x8") == folder
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    monkeypatch.setattr(making, "EDITION", "another")
    families.named("synthetic-2000x8")
    assert (folder / "manifest.json").stat().st_mtime_ns != stamp
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(synthetic, "EDITION", "another")
    families.named("synthetic-2000x8")
    assert (folder / "manifest.json").stat().st_mtime_ns != stamp
    with pytest.raises(InputError, match="FANNS_BENCH_DATA"):
        families.named("arxiv-100k")
    with pytest.raises(InputError, match="no workload is called"):
        families.named("nothing")


def test_records_of_another_folder_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANNS_BENCH_DIR", str(tmp_path))
    monkeypatch.delenv("FANNS_BENCH_DATA", raising=False)
    monkeypatch.setattr(families, "QUERIES", 20)
    monkeypatch.setattr(grid, "SHORT", ("none",))
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        pq.write_table(
            arxiv_like.items(1_000 + seed, 8, seed), tmp_path / name / "papers-0.parquet"
        )
        pq.write_table(arxiv_like.items(20, 8, 9), tmp_path / name / "queries.parquet")
    manifest = families.named("arxiv-1k", data=tmp_path / "one") / "manifest.json"
    first = manifest.read_text()
    stamp = manifest.stat().st_mtime_ns
    families.named("arxiv-1k")
    families.named("arxiv-1k", data=tmp_path / "one")
    assert manifest.stat().st_mtime_ns == stamp
    families.named("arxiv-1k", data=tmp_path / "two")
    assert manifest.read_text() != first
    # One that does not tell its data stays where no folder is given, and only there.
    told = json.loads(first)
    manifest.write_text(json.dumps({**told, "transforms": told["transforms"][:1]}))
    stamp = manifest.stat().st_mtime_ns
    families.named("arxiv-1k")
    assert manifest.stat().st_mtime_ns == stamp
    monkeypatch.setenv("FANNS_BENCH_DATA", str(tmp_path / "one"))
    families.named("arxiv-1k")
    assert manifest.read_text() == first


def test_real_records(arxiv_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANNS_BENCH_DIR", str(tmp_path))
    monkeypatch.setattr(families, "QUERIES", 20)
    found = load(families.named("arxiv-5k", data=arxiv_folder))
    assert found.vectors.shape == (5_000, 384)
    assert {"archive", "main_categories", "update_date", "random"} <= set(
        found.attributes.column_names
    )
    own = {cell.name: cell for cell in found.cells}
    assert own["in-0.1-positive"].affinity > 0.5
    assert own["in-0.2-negative"].affinity < -0.5
    with pytest.raises(InputError, match="fewer than 9000000"):
        families.named("arxiv-9000k", data=arxiv_folder)
