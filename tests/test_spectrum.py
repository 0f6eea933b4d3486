from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.datasets import spectrum
from fanns.errors import InputError


def gaussian(rows: int, rank: int, dimensions: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((rows, rank), np.float32)
    return latent @ rng.standard_normal((rank, dimensions), np.float32)


def test_shares_are_numpys_eigenvalues() -> None:
    x = gaussian(500, 12, 12) + np.float32(3)
    found = spectrum.measure(x)
    expected = np.sort(np.linalg.eigvalsh(np.cov(x.astype(np.float64).T, bias=True)))[::-1]
    np.testing.assert_allclose(found.shares, expected / expected.sum(), rtol=1e-9)
    assert found.variance == pytest.approx(expected.sum())
    mean = np.linalg.norm(x.mean(axis=0)) / np.sqrt((x.astype(np.float64) ** 2).sum(axis=1).mean())
    assert found.mean == pytest.approx(mean, rel=1e-5)


def test_ranks_of_equal_directions() -> None:
    found = spectrum.measure(np.vstack([np.eye(8), -np.eye(8)]))
    assert found.effective_rank == pytest.approx(8) and found.participation == pytest.approx(8)
    assert [found.directions(share) for share in (0.1, 0.5, 1.0)] == [1, 4, 8]


@pytest.mark.parametrize(("rank", "dimensions"), [(1, 5), (7, 64), (40, 41), (120, 256)])
def test_numerical_rank_sees_through_rounding(rank: int, dimensions: int) -> None:
    x = gaussian(700, rank, dimensions)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert spectrum.measure(x).rank == rank


def test_rank_is_about_the_origin_and_variance_about_the_mean() -> None:
    x = gaussian(300, 3, 10) + np.float32(2) * np.eye(10, dtype=np.float32)[0]
    found = spectrum.measure(x)
    assert found.rank == 4 and (found.shares > 1e-6).sum() == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_has_no_spectrum(bad: float) -> None:
    x = gaussian(10, 3, 3)
    x[4, 1] = bad
    for vectors, why in ((x, "NaN"), (x[:1], "two"), (np.ones((5, 3)), "differ")):
        with pytest.raises(InputError, match=why):
            spectrum.measure(vectors)


@pytest.mark.parametrize("rank", [1, 5, 383])
def test_the_formula_is_a_falling_spectrum(rank: int) -> None:
    shares = spectrum.model_shares(rank)
    assert len(shares) == rank and shares.sum() == pytest.approx(1)
    assert (np.diff(shares) < 0).all()


def test_the_formula_fits_a_real_model(arxiv_table: pa.Table) -> None:
    x = np.asarray(arxiv_table["embedding"].combine_chunks().flatten()).reshape(-1, 384)
    shares = spectrum.measure(x[::5]).shares
    ratio = spectrum.model_shares(384)[2:370] / shares[2:370]
    assert np.abs(ratio - 1).max() < 0.25


def test_a_sample_is_of_the_files_rows_in_order(tmp_path: Path) -> None:
    x = np.arange(40_000, dtype=np.float32).reshape(-1, 2)
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 2)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"embedding": column}), path, row_group_size=3000)
    assert np.array_equal(spectrum.sample(path, rows=10**6), x)
    some = spectrum.sample(path, rows=500, seed=1)
    assert len(some) == 500 and (np.diff(some[:, 0]) > 0).all()
    assert np.array_equal(some[:, 1], some[:, 0] + 1) and not (some[:, 0] % 2).any()
    assert np.array_equal(spectrum.sample(path, rows=500, seed=1), some)
    with pytest.raises(InputError, match="no column 'other'"):
        spectrum.sample(path, "other")
    (tmp_path / "broken.parquet").write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        spectrum.sample(tmp_path / "broken.parquet")
