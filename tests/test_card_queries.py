"""Selectivity and correlation of filters in a data card, and the comparison with other data."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.bench.workloads import synthetic
from fanns.datasets import (
    arxiv_answers,
    arxiv_like,
    card_columns,
    card_comparison,
    card_published,
    card_queries,
    data_card,
    dataset,
    faiss_order,
    own_values,
)
from fanns.datasets.dataset import Dataset
from fanns.errors import InputError

pytest.importorskip("matplotlib", reason="data cards need matplotlib, of the extra datasets")
ROWS, QUERIES, DEPTH = 900, 12, 40


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated papers with the paper's query sets and their answers."""
    return made(tmp_path_factory.mktemp("twin"), 0)


def made(folder: Path, seed: int) -> Path:
    items = arxiv_like.items(ROWS, 24, seed)
    attributes = synthetic.attributes(items)
    asked = arxiv_like.queries(QUERIES, 24, seed)
    queries, truth = arxiv_answers.answer(
        dataset.vectors(items),
        attributes,
        items["id"],
        asked.drop_columns(["embedding"]),
        np.ascontiguousarray(dataset.vectors(asked)),
        k=DEPTH,
    )
    table = attributes.append_column("id", items["id"])
    table = table.append_column("embedding", items["embedding"])
    return dataset.write(Dataset(items=table, queries=queries, truth=truth, seed=seed), folder)


def test_shares_are_those_of_the_filters(twin: Path) -> None:
    """Against a plain recount of every query, from the vectors and the values themselves."""
    found = dataset.read(twin)
    assert found.queries is not None
    sets = {one.name: one for one in card_queries.read(twin, ROWS)}
    assert list(sets) == ["none", "em", "r", "emis"]
    close = dataset.vectors(found.queries)[:QUERIES] @ found.vectors().T
    nearest = np.argsort(-close, axis=1, kind="stable")[:, :DEPTH]
    counts = np.array(found.items["number_of_sub_categories"].to_pylist())
    lists = found.items["main_categories"].to_pylist()
    for query, row in enumerate(found.queries.to_pylist()):
        if row["set"] == "em":
            label = int(row["params"].split(":")[1].strip(" }"))
            mask = counts == label
        elif row["set"] == "emis":
            mask = np.array([row["params"].split('"')[3] in own for own in lists])
        else:
            continue
        one, at = sets[row["set"]], query % QUERIES
        assert one.selectivity is not None and one.near is not None
        assert one.selectivity[at] == pytest.approx(mask.mean())
        assert one.near[at] == pytest.approx(mask[nearest[at]].mean())
    assert sets["none"].near is not None and (sets["none"].near == 1).all()


@pytest.mark.parametrize(
    ("near", "share", "expected"),
    [(0.5, 0.5, 0), (1, 0.2, 1), (0, 0.2, -1), (0.6, 0.2, 0.5), (0.1, 0.2, -0.5), (1, 1, 0)],
)
def test_correlation(near: float, share: float, expected: float) -> None:
    assert card_queries.correlation(near, share) == pytest.approx(expected)


def test_the_card_tells_of_sets(twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_columns, "details", lambda *_: "")  # figures take their time
    text = data_card.write_card(twin).read_text(encoding="utf-8")
    assert "| em | number\\_of\\_sub\\_categories = :label | 12 |" in text
    assert "selectivity.png" in text and "filters.png" in text
    assert "| in 1 sub-category |" in text and "agrees" in text


def test_queries_without_sets_or_answers(tmp_path: Path, twin: Path) -> None:
    found = dataset.read(twin)
    assert found.queries is not None
    assert card_queries.read(tmp_path, ROWS) == []
    pq.write_table(found.queries.drop_columns(["set"]), tmp_path / "queries.parquet")
    assert card_queries.read(tmp_path, ROWS) == []
    pq.write_table(found.queries, tmp_path / "queries.parquet")
    sets = card_queries.read(tmp_path, ROWS)
    assert len(sets) == 4 and all(one.near is None for one in sets)
    text = card_queries.section(tmp_path, ROWS, tmp_path, "figures")
    assert "selectivity.png" in text and "filters.png" not in text


def test_published_shares_within_sampling_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 4000
    counts = 1 + rng.choice(4, rows, p=[0.53, 0.30, 0.12, 0.05])
    table = pa.table(
        {
            "number_of_sub_categories": pa.array(counts, pa.int32()),
            "has_comments": rng.random(rows) < 0.5,
            "year": pa.array(rng.integers(2010, 2020, rows), pa.int32()),
            "primary_category": np.where(counts > 1, "alone.never", "math.CO").tolist(),
            "update_date": pa.array(rng.integers(13_000, 18_000, rows), pa.int32()),
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    lines = card_published.section(tmp_path / "items.parquet").splitlines()
    told = {line.split("|")[1].strip(): line for line in reversed(lines) if line[:2] == "| "}
    assert "agrees" in told["in 2 sub-categories"] and "differs" in told["with comments"]
    assert any("Of 2 primary categories" in line and "1 have none" in line for line in lines)
    assert any("lie before the published range" in line for line in lines)
    pq.write_table(table.select(["year"]), tmp_path / "items.parquet")
    assert "None of the published" in card_published.section(tmp_path / "items.parquet")


def test_filters_by_own_values_correlate_as_they_must() -> None:
    """Two clusters that are two archives: own values are all near, the other's all far."""
    rng = np.random.default_rng(1)
    rows = 400
    side = np.arange(rows) % 2
    vectors = rng.standard_normal((rows, 6)).astype(np.float32) * np.float32(0.1)
    vectors[:, 0] += np.where(side, 1, -1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    attributes = pa.table(
        {
            "main_categories": [["a"] if one else ["b", "c"] for one in side],
            "has_comments": (rng.random(rows) < 0.5).tolist(),
            "update_date": pa.array(np.where(side, 1, 10**4) + np.arange(rows), pa.int32()),
            "number_of_authors": pa.array([None, 2] * (rows // 2), pa.int32()),
        }
    )
    found = own_values.of_table(attributes, own_values.neighbours(vectors), vectors)
    assert found["main_categories have its first"].correlation == pytest.approx(1)
    assert found["main_categories have the farthest"].correlation == pytest.approx(-1)
    assert abs(found["has_comments as its own"].correlation) < 0.1
    dates = found["update_date within 10% of the rows"]
    assert dates.near > 1.8 * dates.share
    assert found["number_of_authors as its own"].near == pytest.approx(1)


def test_neighbours_are_the_nearest() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((300, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = own_values.neighbours(vectors)
    for probe, nearest in zip(found.probes[:20], found.nearest[:20], strict=True):
        order = np.argsort(-(vectors @ vectors[probe]), kind="stable")
        assert probe not in nearest
        assert set(nearest[:5]) == set(order[order != probe][:5])


def test_order_of_indexes() -> None:
    """By speeds at a recall, between the efforts that were measured."""
    fast = faiss_order.Curve("fast", np.array([0.5, 0.9, 1.0]), np.array([900.0, 400.0, 100.0]))
    slow = faiss_order.Curve("slow", np.array([0.8, 0.96]), np.array([300.0, 200.0]))
    never = faiss_order.Curve("never", np.array([0.4, 0.6]), np.array([9e5, 8e5]))
    assert fast.at(0.95) == pytest.approx(200.0) and fast.at(0.3) == 900.0
    assert never.at(0.9) is None
    assert faiss_order.order([slow, never, fast], 0.9) == ["fast", "slow"]


def test_compared_with_another(
    twin: Path, tmp_path: Path, arxiv_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    other = arxiv_of(tmp_path / "records", 20)  # of other dimensions
    monkeypatch.setattr(card_columns, "details", lambda *_: "")  # figures take their time
    path = data_card.write_card(twin, reference=other)
    text = path.read_text(encoding="utf-8")
    assert f"{ROWS} rows of each" in text and "order |" in text
    for name in ("spectra", "speeds"):
        assert f"figures/{name}.png" in text and (twin / "figures" / f"{name}.png").exists()
    for name in ("main\\_categories have its first", "has\\_comments as its own"):
        assert name in text
    with pytest.raises(InputError, match="no column `embedding`"):
        data_card.write_card(twin, reference=bare(tmp_path / "bare", other))
    with pytest.raises(InputError, match=r"neither items\.parquet nor"):
        data_card.write_card(twin, reference=tmp_path)
    assert path.read_text(encoding="utf-8") == text  # a card that failed leaves the last one


def bare(folder: Path, other: Path) -> Path:
    """The same records without vectors."""
    folder.mkdir()
    records = pq.read_table(other / "papers-0.parquet").drop_columns(["embedding"])
    pq.write_table(records, folder / "papers-0.parquet")
    return folder


@pytest.fixture
def arxiv_of() -> Any:
    """Writes raw records with vectors, as papers-0.parquet and queries.parquet."""

    def write(folder: Path, dimensions: int) -> Path:
        folder.mkdir()
        records = arxiv_like.items(1000, dimensions, 5)
        pq.write_table(records, folder / "papers-0.parquet")
        pq.write_table(arxiv_like.queries(20, dimensions, 5), folder / "queries.parquet")
        return folder

    return write


@pytest.mark.slow
def test_the_twin_is_like_the_real_sample(arxiv_folder: Path) -> None:
    """20,000 rows of each: spectrum, order of three indexes, correlation of filters."""
    pytest.importorskip("faiss")
    real = card_comparison.side("real", arxiv_folder, 20_000)
    papers = arxiv_like.items(20_000, 384)
    vectors = np.ascontiguousarray(dataset.vectors(papers))
    records = papers.drop_columns(["embedding", "abstract"])
    pairs = [
        (vectors, card_comparison.attributes_of(records)),
        (real.vectors, real.attributes),
    ]
    from fanns.datasets.spectrum import measure

    here, there = (np.cumsum(measure(one).shares) for one, _ in pairs)
    assert np.abs(here - there).max() < 0.04
    twin_own, real_own = (
        own_values.of_table(attributes, own_values.neighbours(own), own)
        for own, attributes in pairs
    )
    assert twin_own.keys() == real_own.keys()
    for name, own in twin_own.items():
        other = real_own[name].correlation
        assert np.sign(own.correlation) == np.sign(other), name
        assert abs(own.correlation - other) < max(0.05, 0.3 * abs(other)), name
    queries = np.ascontiguousarray(dataset.vectors(arxiv_like.queries(1000, 384)))
    curves = [faiss_order.curves(vectors, queries), faiss_order.curves(real.vectors, real.queries)]
    orders = [faiss_order.order(one, 0.95) for one in curves]
    assert len(orders[0]) == 3 and orders[0] == orders[1]
