"""What a data card says of the vectors: lengths, eigenvalues, ranks, distances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import card_figures as figures
from . import spectrum
from .card_text import number, percent, table

PLACES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 4000)
PAIRS = 100_000  # of rows, whose distances are drawn


def section(items: Path, folder: Path, place: str) -> str:
    """Tables and figures of the column `embedding`, from a sample of the rows."""
    vectors = spectrum.sample(items)
    if len(vectors) < 2:
        return "Fewer than two rows have no spectrum.\n"
    found = spectrum.measure(vectors)
    ranks = np.arange(1, found.dimensions + 1)
    positive = found.shares > 1e-12
    figures.lines(
        folder / "spectrum.png",
        {"eigenvalues": (ranks[positive], found.shares[positive])},
        "eigenvalues of the covariance",
        ("rank", "share of the variance"),
        log="xy",
    )
    between = distances(vectors)
    rows, edges = np.histogram(between, bins=60)
    figures.columns(
        folder / "distances.png", edges, rows, f"Euclidean distances of {PAIRS:,} pairs", "distance"
    )
    return (
        f"From {found.rows:,} rows.\n\n"
        f"{table(('of the vectors', 'is'), _facts(found, vectors))}\n\n"
        f"Euclidean distance of random pairs: {between.mean():.3f} +- {between.std():.3f}.\n\n"
        f"![spectrum]({place}/spectrum.png)\n\n{_eigenvalues(found)}\n\n"
        f"![distances]({place}/distances.png)\n"
    )


def distances(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distances of PAIRS random pairs of different rows, seeded."""
    rng = np.random.default_rng(12)
    first = rng.integers(0, len(vectors), PAIRS)
    second = (first + rng.integers(1, len(vectors), PAIRS)) % len(vectors)
    found = np.empty(PAIRS)
    for start in range(0, PAIRS, 4096):
        part = slice(start, start + 4096)
        found[part] = np.linalg.norm(
            vectors[first[part]].astype(np.float64) - vectors[second[part]], axis=1
        )
    return found


def _facts(found: spectrum.Spectrum, vectors: NDArray[np.float32]) -> list[tuple[str, str]]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return [
        ("dimensions", f"{found.dimensions:,}"),
        ("numerical rank (in float32)", f"{found.rank:,}"),
        ("effective rank (entropy)", number(found.effective_rank)),
        ("participation ratio", number(found.participation)),
        *(
            (f"directions with {percent(share)} of the variance", f"{found.directions(share):,}")
            for share in (0.5, 0.9, 0.99)
        ),
        ("length", f"{lengths.mean():.6f} +- {lengths.std():.2g}"),
        ("length of the mean, relative", number(found.mean)),
    ]


def _eigenvalues(found: spectrum.Spectrum) -> str:
    held = np.cumsum(found.shares)
    lines = [
        (place, float(found.shares[place - 1]), percent(float(held[place - 1])))
        for place in PLACES
        if place <= found.dimensions
    ]
    return table(("eigenvalue", "share of the variance", "all up to it"), lines)
