"""Ordered heads: trained on prefixes, compared with principal components."""

import numpy as np
import pytest

from fanns import Index
from fanns.errors import InputError
from fanns.transforms import PCA, Linear

torch = pytest.importorskip("torch")

from fanns.datasets.recsys_ordered_head import (  # noqa: E402
    LOSSES,
    contrastive,
    fit_ordered_head,
    reconstruction,
)


def rows(n: int = 400, d: int = 12) -> np.ndarray:
    """Vectors whose largest direction is the same for all and tells no neighbours apart."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, d)) * np.linspace(1.0, 0.1, d)
    x[:, -1] += 3 * rng.standard_normal(n)
    return x.astype(np.float32)


def losses(head: Linear, x: np.ndarray, name: str, prefixes: tuple[int, ...]) -> list[float]:
    batch = torch.from_numpy(x)
    matrix = torch.from_numpy(np.array(head.matrix))
    return [float(LOSSES[name](batch, matrix[:, :b])) for b in prefixes]


def test_components_are_best_on_reconstruction_and_training_keeps_them() -> None:
    x, prefixes = rows(), (2, 4, 8)
    start = PCA.fit(x, 8, centre=False)
    head = fit_ordered_head(x, prefixes, "reconstruction", steps=60, batch=128)
    for before, after in zip(
        losses(start, x, "reconstruction", prefixes),
        losses(head, x, "reconstruction", prefixes),
        strict=True,
    ):
        assert before - 1e-4 <= after <= 1.02 * before


def test_training_betters_the_order_of_neighbours_on_every_prefix() -> None:
    x, prefixes = rows(), (2, 4)
    start = PCA.fit(x, 4, centre=False)
    head = fit_ordered_head(x, prefixes, steps=150, batch=128, lr=1e-2)
    before = losses(start, x, "contrastive", prefixes)
    after = losses(head, x, "contrastive", prefixes)
    assert after[0] < 0.98 * before[0]
    assert after[1] < 0.99 * before[1]


def test_a_head_is_the_same_on_every_run_and_goes_into_an_index() -> None:
    x = rows()
    heads = [fit_ordered_head(x, (3, 6), steps=5, batch=64, seed=2) for _ in range(2)]
    assert np.array_equal(heads[0].matrix, heads[1].matrix)
    short = heads[0].truncated(3)
    assert np.array_equal(short.rows(x), heads[0].rows(x)[:, :3])
    index = Index.build({"embedding": x}, metric="l2", transforms=[short])
    held = short.rows(x).astype(float)
    truth = np.argsort(np.linalg.norm(held - held[5], axis=1), kind="stable")[:4]
    assert index.search(x[5], 4).ids.tolist() == truth.tolist()


def test_losses_are_those_of_their_formulas() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    matrix = torch.tensor([[1.0], [0.0]])
    assert float(reconstruction(x, matrix)) == pytest.approx((0 + 4 + 1) / 3)
    whole = torch.eye(2)
    entropy = float(contrastive(x, whole))
    assert entropy <= float(contrastive(x, whole[:, [1, 0]])) + 1e-6  # a turn changes nothing
    assert entropy < float(contrastive(x, matrix))


def test_heads_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="loss is 'none'"):
        fit_ordered_head(rows(), (2,), "none")
    for prefixes in ((), (4, 2), (2, 2)):
        with pytest.raises(InputError, match="rising numbers"):
            fit_ordered_head(rows(), prefixes)
    with pytest.raises(InputError, match="width is 99"):
        fit_ordered_head(rows(), (2, 99))
