from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fanns.datasets import arxiv_like, arxiv_vectors, dataset, spectrum
from fanns.datasets.arxiv_habits import CATEGORY_COUNTS, Habits
from fanns.datasets.arxiv_people import People, _names
from fanns.datasets.arxiv_topics import PAIRS, categories, field_of
from fanns.errors import InputError


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
    assert 1.5 * rows < len(authors) < 3.3 * rows
    assert authors.most_common(1)[0][1] > 5


def test_records_are_consistent(items: pa.Table) -> None:
    for row in items.drop_columns(["embedding"]).slice(0, 500).to_pylist():
        assert row["categories"][0] == row["primary_category"]
        assert len(set(row["categories"])) == len(row["categories"])
        assert (row["updated_date"] is None) == (row["versions"] == 1)
        assert row["updated_date"] is None or row["updated_date"] >= row["submitted_date"]
        assert row["id"].startswith(row["submitted_date"].strftime("%y%m."))
        assert row["authors"] is None or len(set(row["authors"])) == len(row["authors"]) > 0
        assert (row["submitter"] is None) == (row["authors"] is None)
        assert row["submitter"] is None or row["submitter"] in row["authors"]
        assert row["journal_ref"] is None or row["doi"] is not None
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
    assert len({c.name for c in found}) == len(found) > 150
    assert 35 <= len({c.archive for c in found}) <= 40
    assert {name for pair in PAIRS for name in pair} <= {c.name for c in found}
    assert all(c.share > 0 and len(c.words) >= 3 and field_of(c.archive) for c in found)


@pytest.fixture(scope="module")
def vectors() -> Any:
    return dataset.vectors(arxiv_like.items(12_000, 96, seed=1))


def test_vectors_have_the_default_spectrum(vectors: Any) -> None:
    found = spectrum.measure(vectors)
    ratio = found.shares / spectrum.model_shares(96)
    assert np.abs(ratio - 1).max() < 0.25
    assert found.rank == 96 and found.mean == pytest.approx(0.24, abs=0.03)


def test_vectors_take_a_spectrum_that_was_measured() -> None:
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((4000, 40)) * np.arange(1, 41) ** -0.9
    wanted = spectrum.measure(sample @ rng.standard_normal((40, 64)) / 8 + rng.standard_normal(64))
    made = dataset.vectors(arxiv_like.items(8000, 64, 2, wanted))
    found = spectrum.measure(made)
    # The mean lies outside of the 40 directions, and takes one for itself.
    assert found.rank == wanted.rank == 41
    assert np.abs(np.cumsum(found.shares) - np.cumsum(wanted.shares)).max() < 0.02
    assert found.mean == pytest.approx(wanted.mean, abs=0.06)
    asked = dataset.vectors(arxiv_like.queries(300, 64, 2, wanted))
    assert spectrum.measure(np.vstack([made, asked])).rank == 41
    with pytest.raises(InputError, match="does not fit into 32"):
        arxiv_like.items(10, 32, 0, wanted)


def test_vectors_of_many_dimensions_have_the_rank_of_a_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arxiv_vectors, "MOST_RANK", 50)
    made = dataset.vectors(arxiv_like.items(400, 80, 0))
    assert spectrum.measure(made).rank == 51
    assert np.linalg.matrix_rank(made.astype(np.float64), tol=1e-4) == 51


def test_neighbours_share_topics_at_every_level(vectors: Any) -> None:
    items = arxiv_like.items(12_000, 96, seed=1)
    names = np.array(items["primary_category"].to_pylist())
    close = vectors[:500] @ vectors.T
    np.fill_diagonal(close, -1)
    near = np.argsort(-close, axis=1)[:, :10]
    own = (names[near] == names[:500, None]).mean()
    archive = np.array([name.split(".")[0] for name in names])
    broad = (archive[near] == archive[:500, None]).mean()
    assert 0.15 < own < broad - 0.1 < 0.9


def test_archives_differ_and_add_up() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    habits = Habits(["math", "hep-ph", "math-ph"], shares, variety=0.0)
    rng = np.random.default_rng(0)
    archive = rng.choice(3, 60_000, p=shares)
    counts = habits.counts(rng, archive)
    found = np.bincount(counts, minlength=8) / len(counts)
    np.testing.assert_allclose(found, CATEGORY_COUNTS / CATEGORY_COUNTS.sum(), atol=0.01)
    assert counts[archive == 2].mean() > 1.5 * counts[archive == 1].mean()
    days, early = habits.submitted(rng, archive, archive)
    assert np.median(days[archive == 0]) > np.median(days[archive == 1])
    known = np.array(pc.is_valid(habits.comments(rng, archive, early)))
    assert known.mean() == pytest.approx(0.74216, abs=0.01)
    assert known[early < 0.5].mean() > known[early > 0.5].mean()
    assert known[archive == 1].mean() > known[archive == 0].mean()


def test_snapshot_form() -> None:
    (batch,) = arxiv_like.batches(3000, 8, seed=4)
    records = arxiv_like.as_records(batch)
    assert "embedding" not in records.schema.names and "updated_date" not in records.schema.names
    days = records["update_date"].cast(pa.int32()).to_numpy()
    assert days.min() == 13_655 and days.max() <= 20_216  # as published
    assert 0.05 < (days == 13_655).mean() < 0.2  # the spike of the first day
    old = batch["submitted_date"].cast(pa.int32()).to_numpy() < 13_655
    absent = np.array(pc.is_null(records["license"]))
    assert absent[old].mean() > 0.85 > 0.05 > absent[~old].mean()


def test_people_are_told_apart_by_their_names() -> None:
    names = _names(np.arange(0, 1_700_000, 7))
    assert len(pc.unique(names)) == len(names)
    sizes = np.arange(500) % 40 + 1
    people = People(np.array([1.0]))
    lists, submitters = people.draw(np.random.default_rng(0), np.zeros(500, np.int64), sizes)
    found = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    assert (np.isnan(found) | (found == sizes)).mean() > 0.95  # few are drawn twice for a paper
    assert submitters.null_count == lists.null_count


def test_text_speaks_of_the_subject(items: pa.Table) -> None:
    """Words of a category occur in its papers' abstracts, and mostly there."""
    word = {c.name: c.words for c in categories()}["quant-ph"][0]
    about = np.array(pc.match_substring(items["abstract"], word))
    own = np.array(pc.equal(items["primary_category"], "quant-ph"))
    assert about[own].mean() > 4 * about[~own].mean()


def test_a_long_set_begins_with_the_blocks_of_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arxiv_like, "BLOCK", 300)
    short, long = arxiv_like.items(600, 8), arxiv_like.items(900, 8)
    assert long.slice(0, 600).equals(short)
