"""Metrics and points that are trained: affine adapters, and hyperbolic users and items."""

import numpy as np
import pytest

import fanns
from fanns.errors import InputError
from fanns.transforms import Lorentz

pytest.importorskip("torch")

from fanns.datasets.recsys_adapter import fit_affine_adapter
from fanns.datasets.recsys_interactions import Interactions, from_pairs


def noisy_pairs(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that agree in the first twelve values; four others are noise, and louder."""
    rng = np.random.default_rng(0)
    own = np.repeat(rng.standard_normal((n, 12)), 2, axis=0)
    loud = 3.0 * rng.standard_normal((2 * n, 4))
    rows = np.hstack([own, loud])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.arange(2 * n).reshape(n, 2)


def matched(index: fanns.Index, queries: np.ndarray, pairs: np.ndarray) -> float:
    """How often a row's partner is among its three nearest."""
    found = [index.search(query, 3, exact=True).ids for query in queries]
    return float(np.mean([second in ids for ids, second in zip(found, pairs[:, 1], strict=True)]))


def test_an_adapter_learns_which_values_matter_and_shares_the_index() -> None:
    vectors, pairs = noisy_pairs()
    adapter = fit_affine_adapter(vectors, pairs[:100], steps=80)
    again = fit_affine_adapter(vectors, pairs[:100], steps=80)
    assert np.array_equal(adapter.scale, again.scale)
    assert np.abs(adapter.scale[:12]).min() > 2 * np.abs(adapter.scale[12:]).max()
    plain = fanns.Index.build({"embedding": vectors}, metric="ip")
    held_out = pairs[100:]
    asked = vectors[held_out[:, 0]]
    assert matched(plain, adapter.fold(asked), held_out) > matched(plain, asked, held_out) + 0.3


def test_pairs_that_make_no_sense() -> None:
    vectors, pairs = noisy_pairs(5)
    for wrong in (pairs[:1], pairs[:, :1], pairs + 100, pairs.astype(float)):
        with pytest.raises(InputError, match="pairs"):
            fit_affine_adapter(vectors, wrong)
    with pytest.raises(InputError, match="vectors"):
        fit_affine_adapter(np.full((10, 3), np.nan, np.float32), pairs)


def tree() -> Interactions:
    """Users of 8 branches, each with items of their own branch; ids as numbers."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(160), 6)
    items = users % 8 * 10 + rng.integers(0, 10, len(users))
    return from_pairs(users, items)


def test_hyperbolic_points_are_found_by_their_own_distance() -> None:
    pytest.importorskip("geoopt")
    from fanns.datasets.recsys_hyperbolic import fit_hyperbolic

    train = tree()
    points = fit_hyperbolic(train, 4, epochs=30, batch=256, lr=2e-2)
    again = fit_hyperbolic(train, 4, epochs=1, batch=256, lr=2e-2)
    assert np.array_equal(again.items, fit_hyperbolic(train, 4, epochs=1, batch=256, lr=2e-2).items)
    held = Lorentz.fit(points.items)
    index = fanns.Index.build({"embedding": points.items}, metric="lorentz", transforms=[held])
    own, wide = [], points.items.astype(np.float64)
    for user in range(40):
        hits = index.search(points.users[user], 10, exact=True)
        asked = points.users[user].astype(np.float64)
        product = -asked[0] * wide[:, 0] + wide[:, 1:] @ asked[1:]
        best = np.sort(np.arccosh(np.maximum(-product, 1.0)))[:10]
        np.testing.assert_allclose(hits.distances, best, atol=1e-3)
        own.append(np.mean([train.item_ids[int(i)].as_py() // 10 == user % 8 for i in hits.ids]))
    assert np.mean(own) > 0.6  # by chance an eighth


def test_hyperbolic_settings_that_make_no_sense() -> None:
    pytest.importorskip("geoopt")
    from fanns.datasets.recsys_hyperbolic import fit_hyperbolic

    with pytest.raises(InputError, match="above 0"):
        fit_hyperbolic(tree(), 0)
