from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fanns.datasets import arxiv_like, dataset
from fanns.datasets.arxiv_topics import categories, field_of


@pytest.fixture(scope="module")
def items() -> pa.Table:
    return arxiv_like.items(6000, 64, seed=3)


def test_same_seed_same_rows(items: pa.Table) -> None:
    assert arxiv_like.items(6000, 64, seed=3).equals(items, check_metadata=True)
    assert not arxiv_like.items(6000, 64, seed=4)["title"].equals(items["title"])


def test_blocks_make_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arxiv_like, "BLOCK", 400)
    blocks = list(arxiv_like.batches(1000, 16, seed=1))
    assert [block.num_rows for block in blocks] == [400, 400, 200]
    table = arxiv_like.items(1000, 16, seed=1)
    assert pa.Table.from_batches(blocks).equals(table)
    assert len(pc.unique(table["id"])) == 1000


def test_vectors_say_that_they_are_simulated(items: pa.Table) -> None:
    assert items.schema.metadata[b"fanns.vectors"] == b"simulated"
    assert arxiv_like.queries(3, 64).schema.metadata[b"fanns.vectors"] == b"simulated"


def test_no_rows() -> None:
    assert arxiv_like.items(0, 16).num_rows == 0
    assert arxiv_like.queries(0, 16).num_rows == 0


def test_vectors_are_unit_float32(items: pa.Table) -> None:
    for table in (items, arxiv_like.queries(50, 64, seed=3)):
        vectors = dataset.vectors(table)
        assert vectors.dtype == np.float32 and vectors.shape[1] == 64
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_marginals(items: pa.Table) -> None:
    rows = items.num_rows
    counts = Counter(pc.list_value_length(items["categories"]).to_pylist())
    assert counts[1] / rows == pytest.approx(0.528, abs=0.03)
    assert counts[2] / rows == pytest.approx(0.299, abs=0.03)
    assert items["comments"].null_count / rows == pytest.approx(0.258, abs=0.03)
    assert items["updated_date"].null_count / rows == pytest.approx(0.62, abs=0.03)
    assert 0 < items["authors"].null_count < 0.01 * rows
    years = pc.year(items["submitted_date"]).to_numpy()
    assert 1991 <= years.min() < 2000 and years.max() == 2025
    assert (years >= 2008).mean() > 0.65  # density grows
    authors = Counter(pc.list_flatten(items["authors"]).to_pylist())
    assert 0.3 * rows < len(authors) < rows
    assert authors.most_common(1)[0][1] > 5


def test_records_are_consistent(items: pa.Table) -> None:
    for row in items.drop_columns(["embedding"]).slice(0, 500).to_pylist():
        assert row["categories"][0] == row["primary_category"]
        assert len(set(row["categories"])) == len(row["categories"])
        assert (row["updated_date"] is None) == (row["versions"] == 1)
        assert row["updated_date"] is None or row["updated_date"] >= row["submitted_date"]
        assert row["id"].startswith(row["submitted_date"].strftime("%y%m."))
        assert row["authors"] is None or len(set(row["authors"])) == len(row["authors"]) > 0
        assert 150 < len(row["abstract"]) < 1500 and row["abstract"].endswith(".")
        assert row["title"][0].isupper() or not row["title"][0].isalpha()


def test_categories_correlate_with_vectors(items: pa.Table) -> None:
    vectors, queries = dataset.vectors(items), arxiv_like.queries(200, 64, seed=3)
    names = np.array(items["primary_category"].to_pylist())
    order = np.argsort(-dataset.vectors(queries) @ vectors.T, axis=1)[:, :10]
    own = np.array(queries["primary_category"].to_pylist())[:, None]
    shares = np.array(list(Counter(names.tolist()).values())) / len(names)
    assert (names[order] == own).mean() > 4 * (shares**2).sum()


def test_topics_are_well_formed() -> None:
    found = categories()
    assert len({c.name for c in found}) == len(found) > 90
    assert all(c.share > 0 and len(c.words) >= 3 and field_of(c.archive) for c in found)
