"""Fits in one pass: streaming PCA and the oblivious sketch, against exact ones."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fanns import Index
from fanns.errors import InputError
from fanns.transforms import PCA, Sketch, StreamingPCA, Whitening


def data(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Correlated rows away from the origin, float32[n, d]."""
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal((d, d)) * 0.85 ** np.arange(d)
    return (rng.standard_normal((n, d)) @ spread.T + rng.standard_normal(d)).astype(np.float32)


def angle(first: PCA, second: PCA) -> float:
    """The largest angle between what two transforms span, degrees."""
    bases = [np.linalg.qr(one.matrix.astype(float))[0] for one in (first, second)]
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))


def batches(x: np.ndarray, size: int) -> list[np.ndarray]:
    return [x[start : start + size] for start in range(0, len(x), size)]


def test_streaming_is_exact_while_all_directions_are_kept() -> None:
    x = data(900, 30)
    for width in (1, 7, 30):
        streamed, exact = StreamingPCA.fit(batches(x, 111), width), PCA.fit(x, width)
        assert np.allclose(streamed.rows(x), exact.rows(x), atol=1e-3)


def test_streaming_pca_is_near_the_exact_one_and_sklearns() -> None:
    sklearn = pytest.importorskip("sklearn.decomposition")
    x, width = data(6000, 160), 24
    streamed, exact = StreamingPCA.fit(batches(x, 500), width), PCA.fit(x, width)
    assert angle(streamed, exact) < 5
    oracle = sklearn.IncrementalPCA(width, batch_size=500).fit(x)
    kept = [((x - x.mean(0)) @ one) ** 2 for one in (streamed.matrix, oracle.components_.T)]
    assert kept[0].sum() >= kept[1].sum() * (1 - 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 64, 128])
def test_streaming_pca_of_arxiv_vectors(
    arxiv_table: pa.Table, arxiv_queries: pa.Table, width: int
) -> None:
    """Within 5 degrees of the exact components, and recall within half a point."""

    def values(table: pa.Table) -> np.ndarray:
        column = table["embedding"].combine_chunks()
        return np.asarray(column.flatten(), np.float32).reshape(len(column), -1)

    x, q = values(arxiv_table), values(arxiv_queries)[:500]
    made = [StreamingPCA.fit(batches(x, 2048), width), PCA.fit(x, width)]
    assert angle(*made) < 5
    some = x[:20_000]
    truth = np.argsort(-(q @ some.T), axis=1)[:, :10]
    recalls = []
    for transform in made:
        index = Index.build({"embedding": some}, metric="l2", transforms=[transform], bits=0)
        found = index.search(q, 10)
        same = [set(a.ids.tolist()) & set(b.tolist()) for a, b in zip(found, truth, strict=True)]
        recalls.append(np.mean([len(one) / 10 for one in same]))
    assert abs(recalls[0] - recalls[1]) <= 0.005, recalls


def test_a_sketch_gives_what_the_vectors_give() -> None:
    x = data(4000, 12)
    sketch = Sketch.fit(batches(x, 333))
    assert sketch.factor.shape == (13, 13)
    centred = x.astype(float) - x.astype(float).mean(axis=0)
    truth = centred.T @ centred / len(x)
    error = np.linalg.norm(sketch.covariance(True) - truth, 2) / np.linalg.norm(truth, 2)
    assert error < 0.25
    assert np.allclose(sketch.mean, x.astype(float).mean(axis=0))
    assert angle(PCA.of_moments(sketch, 2), PCA.fit(x, 2)) < 15
    held = Whitening.of_moments(sketch, 6).rows(x)
    assert np.allclose(np.cov(held.T), np.eye(6), atol=0.4)


def test_one_row_is_sketched_without_loss() -> None:
    x = data(1, 5)
    sketch = Sketch.fit(x)
    assert np.allclose(sketch.covariance(False), x.astype(float).T @ x.astype(float))
    assert np.allclose(sketch.covariance(True), 0, atol=1e-12)


def test_sketches_of_parts_are_merged() -> None:
    x = data(4000, 12)
    parts = [Sketch.fit(part, seed) for seed, part in enumerate(batches(x, 1000))]
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    assert whole.count == 4000
    stacked = sum(one.factor.T @ one.factor for one in [Sketch.fit(x[:1000], 0), *parts[1:]])
    assert np.allclose(whole.factor.T @ whole.factor, stacked)
    assert np.allclose(whole.mean, x.astype(float).mean(axis=0))
    with pytest.raises(InputError, match="cannot join"):
        whole.merge(Sketch(11))


def test_leverage_finds_what_a_fit_depends_on() -> None:
    x = data(3000, 10) - data(3000, 10).mean(axis=0)
    x[17] *= 40
    leverage = Sketch.fit(x).leverage(x)
    assert leverage.argmax() == 17
    exact = np.linalg.norm(np.linalg.svd(x.astype(float), full_matrices=False)[0], axis=1) ** 2
    assert np.corrcoef(leverage, exact)[0, 1] > 0.98
    assert leverage.sum() == pytest.approx(10, rel=0.3)
    assert Sketch.fit(np.zeros((4, 3))).leverage(np.ones((2, 3))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: StreamingPCA(4, 5), "width is 5"),
        (lambda: StreamingPCA(4, 2).transform(), "no vectors"),
        (lambda: StreamingPCA(4, 2).update(np.ones((3, 5))), "5 dimensions, expected 4"),
        (lambda: StreamingPCA.fit([np.full((2, 3), np.inf)], 1), "infinity"),
        (lambda: Sketch(4).update(np.ones((3, 5))), "5 dimensions, expected 4"),
        (lambda: PCA.of_moments(Sketch(4), 2), "no vectors"),
        (lambda: Whitening.of_moments(Sketch.fit(np.ones((9, 3))), 1), "all alike"),
    ],
)
def test_fits_that_make_no_sense(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
