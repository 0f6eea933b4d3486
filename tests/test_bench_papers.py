"""Workloads of a data set's folder: its columns decide, its queries are taken once."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fanns.bench.workloads import grid, making, papers, synthetic
from fanns.bench.workloads.declared import declared
from fanns.bench.workloads.workload import load
from fanns.cli import FAILED, USAGE, run
from fanns.datasets import arxiv_answers, arxiv_like, dataset
from fanns.datasets.dataset import Dataset, vectors
from fanns.errors import InputError

ROWS, QUERIES = 4_000, 30


def attributes(records: pa.Table) -> pa.Table:
    """Attributes as `fanns dataset arxiv` names them, of simulated papers."""
    found = synthetic.attributes(records)
    names = {"categories": "sub_categories", "archive": "unknown", "word_length": "unused"}
    found = found.rename_columns([names.get(name, name) for name in found.column_names])
    days = found["update_date"].cast(pa.int32())
    found = found.drop_columns(["unknown", "unused", "updated_date"])
    found = found.set_column(found.column_names.index("update_date"), "update_date", days)
    for name, column in {
        "id": records["id"],
        "title": records["title"],
        "abstract": records["abstract"],
        "abstract_length": pc.utf8_length(records["abstract"]),
        "year": pc.year(records["submitted_date"]),
    }.items():
        found = found.append_column(name, column)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set as `fanns dataset arxiv` writes it."""
    made = arxiv_like.items(ROWS, 8)
    told = attributes(made)
    asked = arxiv_like.queries(QUERIES, 8)
    queries, truth = arxiv_answers.answer(
        vectors(made), told, told["id"], asked.drop_columns(["embedding"]), vectors(asked), k=10
    )
    items = told.append_column("embedding", made["embedding"])
    path = tmp_path_factory.mktemp("papers") / "set"
    return dataset.write(Dataset(items, queries, truth, seed=3, model="m"), path)


def test_the_queries_are_taken_once(folder: Path) -> None:
    corpus, filters = papers.read(folder)
    assert len(corpus.queries) == QUERIES and corpus.asked.num_rows == QUERIES
    assert len(corpus.vectors) == ROWS == corpus.attributes.num_rows
    assert not {"title", "abstract", "id", "embedding"} & set(corpus.attributes.column_names)
    assert (corpus.seed, corpus.model, corpus.metric) == (3, "m", "cosine")
    assert filters.correlate_with == "primary_category" == filters.equality[0]
    assert filters.contains == ("sub_categories", "main_categories", "authors")
    assert set(filters.range) == {"submitted_date", "update_date", "abstract_length"}


def test_wide_families_of_a_data_set(folder: Path) -> None:
    """Positive and negative correlation, conjunctions, OR, NOT, and rare rows."""
    corpus, filters = papers.read(folder)
    names = [
        *("in-0.2-positive", "in-0.2-negative", "and2-0.01-negative", "or-0.1-none"),
        *("not-1-negative", "and3-0.001-negative", "random-0.00001-none", "em", "r", "emis"),
    ]
    told: list[str] = []
    _, kept = making.plan(corpus, filters, [grid.asked(name) for name in names], told.append)
    found = {cell.asked.name: cell for cell in kept}
    assert set(names) - set(found) <= {"random-0.00001-none"}, told
    assert found["in-0.2-positive"].affinity > 0.1 > -0.1 > found["in-0.2-negative"].affinity
    assert 0.0005 <= found["and3-0.001-negative"].selectivity <= 0.002
    assert 0.35 < found["r"].selectivity < 0.55


def test_cells_that_are_too_rare_for_the_data_are_left_out(folder: Path) -> None:
    corpus, filters = papers.read(folder)
    rare = [cell for cell in grid.grid((0.00001,)) if cell.target == 0.00001]
    told: list[str] = []
    _, kept = making.plan(corpus, filters, rare, told.append)
    assert {cell.asked.family for cell in kept} <= {"random"}
    assert len(kept) + len(told) == len(rare) > 20


def test_the_command_makes_a_workload_of_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["bench", "make", str(folder), "-q"]
    cells = ["--cell", "em", "--cell", "in-0.1-*", "--cell", "range_date-0.05-*"]
    assert run([*asked, *cells, "-o", str(tmp_path / "made")]) == 0
    made = load(tmp_path / "made")
    assert {"em", "in-0.1-positive", "range_date-0.05-none"} == {cell.name for cell in made.cells}
    assert len(made.queries) == 3 * QUERIES
    assert run(["bench", "make", str(tmp_path / "made"), "-o", str(tmp_path / "x")]) == FAILED
    assert "a workload already" in capsys.readouterr().err
    assert run([*asked, "--queries", str(folder / "queries.parquet"), "--dry-run"]) == USAGE
    assert "has its own queries" in capsys.readouterr().err
    assert run(asked) == USAGE
    assert "give -o" in capsys.readouterr().err


def test_a_declaration_says_other_filters(folder: Path, tmp_path: Path) -> None:
    given = declared({"equality": ["year"], "metric": "l2", "cells": "equality-*", "seed": 9})
    corpus, filters = papers.read(folder, given)
    assert (corpus.metric, corpus.seed, filters.equality) == ("l2", 9, ("year",))
    file = tmp_path / "filters.toml"
    file.write_text('equality = ["year"]\ncells = ["equality-0.05-none"]\n')
    asked = ["bench", "make", str(folder), "-q", "--declare", str(file)]
    assert run([*asked, "-o", str(tmp_path / "made")]) == 0
    assert [cell.where for cell in load(tmp_path / "made").cells] == ["year = :value"]


def test_folders_that_are_no_such_data_set(folder: Path, tmp_path: Path) -> None:
    assert papers.is_one(folder) and not papers.is_one(tmp_path)
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        papers.read(tmp_path)
    kind = pa.list_(pa.float32(), 2)
    bare: Any = pa.table({"id": [1, 2], "embedding": pa.array([[1, 0], [0, 1]], kind)})
    dataset.write(Dataset(bare, bare), tmp_path / "bare")
    with pytest.raises(InputError, match=r"none of the columns primary_category, .* --declare"):
        papers.read(tmp_path / "bare")
    (tmp_path / "bare" / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        papers.read(tmp_path / "bare")


def test_without_queries_some_rows_are_held_out(folder: Path, tmp_path: Path) -> None:
    found = dataset.read(folder)
    dataset.write(Dataset(found.items), tmp_path / "items")
    corpus, _ = papers.read(tmp_path / "items")
    assert len(corpus.queries) == ROWS // 10 and len(corpus.vectors) == ROWS - ROWS // 10


def test_the_short_list_reaches_the_rarest_rows() -> None:
    short, full = papers.cells(False), papers.cells(True)
    assert {cell.name for cell in short} <= {cell.name for cell in full}
    rarest = {cell.correlation for cell in short if cell.target == 0.00001}
    assert rarest == {"positive", "none", "negative"}
    assert np.isclose(min(cell.target or 1.0 for cell in full), 1e-5)
