"""Vectors of simulated papers: a mixture of topics in a latent space, with a chosen spectrum.

A paper is at home in one category out of a few hundred, leans towards another one, and has there
one of five subtopics of unequal size. Its latent point is a blend of both homes, its subtopic,
four facets (a method, an object, ...) of unequal weight that it shares with others of its home,
and noise of its own. The covariance of this mixture is known exactly, so the map to vectors can
whiten it and give each direction the variance that the wanted spectrum asks for
(`spectrum.measure` takes one from any sample of vectors).

The numbers below were fitted to MiniLM embeddings of 100,000 arXiv abstracts: similarities of the
1st to the 1,000th neighbour, the neighbours' share of equal categories, the variance that clusters
explain, and how many of faiss's inverted lists, and of its graph's candidates, recall takes. With
subtopics alone, without blends and weights, clusters are so crisp that one list is enough.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanns.errors import InputError

from .arxiv_topics import FIELDS, PAIRS, Category, field_of
from .spectrum import Spectrum, model_shares

SUBTOPICS = 5  # per category
FACETS, VALUES = 4, 20  # of a paper; values of a facet in one home
POOL = 2048  # values of all facets; distant homes share some
MOST_RANK = 1024  # of the default spectrum, as layers on top of 1,024 hidden units have it
MEAN = 0.24  # length of the mean vector, where no spectrum was given
OWN_HOME = 0.62  # papers whose home is their primary category; others are at home in another
LEANING = 0.55  # the most of a paper that belongs to its second home
SUBTOPIC_SHARE, FACET_SHARE = 0.05, 0.2  # of the variance that homes leave; of one facet
NOISE_SHARE = 1.0 - SUBTOPIC_SHARE - FACETS * FACET_SHARE
MEAN_WEIGHT = 2.0 * math.sqrt(2.0) / 3.0  # of the root of a uniform number in [0, 2)
SHIFT = 0.35  # of phrases, away from all documents
PHRASE_NOISE = 0.15  # more variance that phrases have
CHUNK = 4096  # rows made at a time, so that they stay in the processor's caches
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


class Subject(NamedTuple):
    """What each of n papers is about: home category, the one that it leans to and how far (the
    share of variance, float32), subtopic, all [n]; values of facets int64[n, FACETS], and their
    weights float32[n, FACETS].
    """

    home: Ints
    other: Ints
    leaning: Floats
    subtopic: Ints
    facets: Ints
    weights: Floats

    def rows(self, part: slice) -> Subject:
        home, other, leaning, subtopic, facets, weights = (column[part] for column in self)
        return Subject(home, other, leaning, subtopic, facets, weights)  # type: ignore[arg-type]


class Space:
    """The latent mixture of one seed, and its map to unit vectors of so many dimensions."""

    def __init__(
        self,
        categories: tuple[Category, ...],
        dimensions: int,
        seed: int,
        spectrum: Spectrum | None = None,
    ) -> None:
        """Raises InputError when the spectrum has more directions than there are dimensions."""
        rng = np.random.default_rng([seed, 0])
        shares, mean = _wanted(dimensions, spectrum)
        self.dimensions, self.rank = dimensions, len(shares)
        self._share, self.affinity = _shares(categories), _affinity(categories)
        # Where a paper of each category belongs besides.
        self._besides = _rows_to_one(self.affinity * self._share)
        self._subtopic_share = _falling(SUBTOPICS, 1.0)
        self._value_share = _falling(VALUES, 0.8)
        self._left = 1.0 - _home_shares(self.rank)
        self._homes = _centres(rng, categories, self.rank)
        within = rng.standard_normal((len(categories), SUBTOPICS, self.rank))
        self._subtopics = within * np.sqrt(self._left * SUBTOPIC_SHARE)
        pool = rng.standard_normal((POOL, self.rank))
        self._pool = pool * np.sqrt(self._left * FACET_SHARE)
        self._place = rng.integers(0, POOL, (FACETS, len(categories)))
        self._map_to_vectors(rng, shares, mean)

    def subjects(self, rng: np.random.Generator, primary: Ints, second: Ints) -> Subject:
        """What papers are about; `second` int64[n] is a category that each is listed in too, its
        primary one where there is none.
        """
        count = len(primary)
        other = np.where(second == primary, self._elsewhere(rng, primary), second)
        home = np.where(rng.random(count) < OWN_HOME, primary, other)
        rank = np.searchsorted(
            np.cumsum(self._value_share)[:-1], rng.random((count, FACETS)), side="right"
        )
        return Subject(
            home,
            self._elsewhere(rng, home),
            rng.uniform(0.0, LEANING, count).astype(np.float32),
            np.searchsorted(np.cumsum(self._subtopic_share)[:-1], rng.random(count), side="right"),
            (self._place[:, home].T + rank) % POOL,
            np.sqrt(rng.uniform(0.0, 2.0, (count, FACETS))).astype(np.float32),
        )

    def documents(self, rng: np.random.Generator, subject: Subject) -> Floats:
        """Unit vectors float32[n, d] of papers."""
        return self._vectors(rng, subject, 1.0, self._off)

    def phrases(self, rng: np.random.Generator, subject: Subject) -> Floats:
        """Unit vectors float32[n, d] of short phrases about the same: farther from any paper, and
        all shifted in one direction, as embeddings of phrases are from those of abstracts.
        """
        wide = math.sqrt((NOISE_SHARE + PHRASE_NOISE) / NOISE_SHARE)
        return self._vectors(rng, subject, wide, self._off + self._shift)

    def _elsewhere(self, rng: np.random.Generator, category: Ints) -> Ints:
        """For each category int64[n] another one, by affinity."""
        rows = np.cumsum(self._besides, axis=1)
        # One sorted line of all rows, each in an interval of its own.
        line = (rows / rows[:, -1:] + np.arange(len(rows))[:, None]).reshape(-1)
        place = np.searchsorted(line, category + rng.random(len(category)), side="right")
        return np.asarray(np.minimum(place - category * len(rows), len(rows) - 1))

    def _vectors(
        self, rng: np.random.Generator, subject: Subject, times: float, off: Floats
    ) -> Floats:
        made = np.empty((len(subject.home), self.dimensions), np.float32)
        for start in range(0, len(made), CHUNK):
            part = subject.rows(slice(start, start + CHUNK))
            np.matmul(self._points(rng, part, times), self._map, out=made[start : start + CHUNK])
        made += off
        return _unit(made)

    def _points(self, rng: np.random.Generator, subject: Subject, times: float) -> Floats:
        """Latent points float32[n, rank]."""
        points = rng.standard_normal((len(subject.home), self.rank), np.float32)
        points *= self._noise * np.float32(times)
        points += np.sqrt(1 - subject.leaning)[:, None] * self._homes32[subject.home]
        points += np.sqrt(subject.leaning)[:, None] * self._homes32[subject.other]
        points += self._subtopics32[subject.home, subject.subtopic]
        for facet in range(FACETS):
            values = self._pool32[subject.facets[:, facet]]
            values *= subject.weights[:, facet, None]
            points += values
        return points

    def _map_to_vectors(self, rng: np.random.Generator, shares: Doubles, mean: float) -> None:
        """The map of latent points to vectors, and where it puts their mean."""
        centre, covariance = self._moments()
        values, directions = np.linalg.eigh(covariance)
        whiten = (directions / np.sqrt(values)) @ directions.T
        basis = np.linalg.qr(rng.standard_normal((self.dimensions, self.rank)))[0]
        # Variance 1 - mean^2 about a mean of that length: vectors have a length of about 1.
        spread = np.sqrt(shares * (1.0 - mean * mean))
        to_vectors = whiten @ (spread[:, None] * basis.T)
        common, shift = _within(rng, basis, self.rank < self.dimensions)
        self._map = to_vectors.astype(np.float32)
        self._off = (mean * common - centre @ to_vectors).astype(np.float32)
        self._shift = (SHIFT * shift).astype(np.float32)
        self._noise = np.sqrt(self._left * NOISE_SHARE).astype(np.float32)
        self._homes32 = self._homes.astype(np.float32)
        self._subtopics32 = self._subtopics.astype(np.float32)
        self._pool32 = self._pool.astype(np.float32)

    def _moments(self) -> tuple[Doubles, Doubles]:
        """Mean [rank] and covariance [rank, rank] of latent points, exactly.

        Given its home, a paper's blend, subtopic, facets and noise are independent: the covariance
        is that of the homes' means, and the mean of those within homes.
        """
        weights = OWN_HOME * self._share + (1.0 - OWN_HOME) * (self._share @ self._besides)
        second = self._besides @ self._homes
        lean = (np.arange(4096) + 0.5) / 4096 * LEANING
        first_root, second_root = np.sqrt(1.0 - lean).mean(), np.sqrt(lean).mean()
        blend = first_root * self._homes + second_root * second
        squares = (1.0 - lean.mean()) * _square(self._homes, weights)
        squares += lean.mean() * _square(self._homes, weights @ self._besides)
        crossed = np.sqrt(lean * (1.0 - lean)).mean() * (self._homes.T * weights) @ second
        covariance = squares + crossed + crossed.T - _square(blend, weights)
        usual = np.einsum("ijk,j->ik", self._subtopics, self._subtopic_share)
        often = np.outer(weights, self._subtopic_share).reshape(-1)
        covariance += _square(self._subtopics.reshape(-1, self.rank), often)
        covariance -= _square(usual, weights)
        means = blend + usual
        for places in self._place:
            values = (places[:, None] + np.arange(VALUES)) % POOL
            of_home = np.einsum("ijk,j->ik", self._pool[values], self._value_share) * MEAN_WEIGHT
            share = np.outer(weights, self._value_share).reshape(-1)
            covariance += _square(self._pool, _counted(values, share))
            covariance -= _square(of_home, weights)
            means += of_home
        centre = weights @ means
        covariance += _square(means, weights) - np.outer(centre, centre)
        return centre, covariance + np.diag(self._left * NOISE_SHARE)


def _square(rows: Doubles, weights: Doubles) -> Doubles:
    """The weighted sum of x x^T over rows."""
    return np.asarray((rows.T * weights) @ rows)


def _counted(values: Ints, weights: Doubles) -> Doubles:
    return np.asarray(np.bincount(values.reshape(-1), weights, POOL), np.float64)


def _falling(count: int, power: float) -> Doubles:
    """Shares that fall with a power of their rank."""
    shares = np.arange(1, count + 1) ** -power
    return np.asarray(shares / shares.sum())


def _wanted(dimensions: int, spectrum: Spectrum | None) -> tuple[Doubles, float]:
    """Shares of variance of every direction with any, and the length of the mean."""
    if spectrum is None:
        return model_shares(min(dimensions, MOST_RANK)), MEAN
    positive = spectrum.shares[spectrum.shares > 1e-12]
    if len(positive) > dimensions:
        raise InputError(
            f"a spectrum of {len(positive)} directions does not fit into {dimensions} dimensions"
        )
    return positive / positive.sum(), min(spectrum.mean, 0.99)


def _home_shares(rank: int) -> Doubles:
    """The share of each direction's variance that lies between homes: most in the first ones."""
    place = np.arange(1, rank + 1)
    return np.asarray(np.maximum(0.95 / (1.0 + place / 25.0) ** 0.8, 0.15))


def _centres(rng: np.random.Generator, categories: tuple[Category, ...], rank: int) -> Doubles:
    """Centres [categories, rank]: field, archive and category; archives fill few directions."""
    archives = sorted({c.archive for c in categories})
    fields = list(FIELDS)
    archive = np.array([archives.index(c.archive) for c in categories])
    field = np.array([fields.index(field_of(c.archive)) for c in categories])
    between = _home_shares(rank)
    broad = between * 0.9 / (1.0 + (np.arange(1, rank + 1) / 3.0) ** 1.5)
    centres = np.sqrt(0.3 * broad) * rng.standard_normal((len(fields), rank))[field]
    centres += np.sqrt(0.7 * broad) * rng.standard_normal((len(archives), rank))[archive]
    centres += np.sqrt(between - broad) * rng.standard_normal((len(categories), rank))
    return np.asarray(centres)


def _shares(categories: tuple[Category, ...]) -> Doubles:
    shares = np.array([c.share for c in categories])
    return np.asarray(shares / shares.sum())


def _affinity(categories: tuple[Category, ...]) -> Doubles:
    """Odds [c, c] that a paper of one category also belongs to another: 0 for itself."""
    archive = np.array([c.archive for c in categories])
    field = np.array([field_of(c.archive) for c in categories])
    odds = np.exp(
        2.5 * (archive[:, None] == archive[None, :]) + 1.2 * (field[:, None] == field[None, :])
    )
    place = {c.name: at for at, c in enumerate(categories)}
    for (one, other), times in PAIRS.items():
        odds[[place[one], place[other]], [place[other], place[one]]] *= times
    np.fill_diagonal(odds, 0.0)
    return np.asarray(odds)


def _rows_to_one(odds: Doubles) -> Doubles:
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _within(rng: np.random.Generator, basis: Doubles, room: bool) -> tuple[Doubles, Doubles]:
    """Two unit vectors [d]: where the mean lies, outside of the span of `basis` [d, rank] where
    there is room, as an offset adds one to the rank; and one inside.
    """
    mean, shift = rng.standard_normal(len(basis)), basis @ rng.standard_normal(basis.shape[1])
    if room:
        mean -= basis @ (basis.T @ mean)
    return mean / np.linalg.norm(mean), shift / np.linalg.norm(shift)


def _unit(vectors: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32))
    vectors /= lengths[:, None]
    return vectors
