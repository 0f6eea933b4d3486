"""Vectors of simulated papers: a mixture of topics in a latent space, with a chosen spectrum.

A paper has a home, one category out of a few hundred, and in it one of five subtopics of unequal
size. Its latent point is the sum of its home's archive, its home, its subtopic, one of many narrow
aspects that neighbouring papers share, and noise of its own. The covariance of this mixture is
known exactly, so the map to vectors can whiten it and give each direction the variance that the
wanted spectrum asks for (`spectrum.measure` takes one from any sample of vectors).

The spreads below were fitted to MiniLM embeddings of 100,000 arXiv abstracts: similarities of the
1st, 10th and 100th neighbour, the neighbours' share of equal categories, and the variance that
200 and 1,000 clusters explain.
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
ASPECTS = 40  # that the papers of one subtopic are about
ASPECT_POOL = 2048  # all aspects; distant subtopics share some
MOST_RANK = 1024  # of the default spectrum, as layers on top of 1,024 hidden units have it
MEAN = 0.24  # length of the mean vector, where no spectrum was given
OWN_HOME = 0.62  # papers whose home is their primary category; others are at home in another
SUBTOPIC_SHARE, ASPECT_SHARE = 0.25, 0.25  # of the variance that homes leave
SHIFT = 0.35  # of phrases, away from all documents
PHRASE_NOISE = 0.15  # more variance that phrases have
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


class Subject(NamedTuple):
    """What each of n papers is about: home category, subtopic and aspect, each int64[n]."""

    home: Ints
    subtopic: Ints
    aspect: Ints


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
        # Where a paper is at home that is not at home in its primary category.
        self._elsewhere = np.cumsum(_rows_to_one(self.affinity * self._share), axis=1)
        self._subtopics = 1.0 / np.arange(1, SUBTOPICS + 1)
        self._subtopics /= self._subtopics.sum()
        self._aspects = np.arange(1, ASPECTS + 1) ** -0.5
        self._aspects /= self._aspects.sum()
        self._left = 1.0 - _home_shares(self.rank)
        within = rng.standard_normal((len(categories), SUBTOPICS, self.rank))
        within *= np.sqrt(self._left * SUBTOPIC_SHARE)
        self._centres = _centres(rng, categories, self.rank) + within
        self._pool = np.sqrt(self._left * ASPECT_SHARE) * rng.standard_normal(
            (ASPECT_POOL, self.rank)
        )
        self._place = rng.integers(0, ASPECT_POOL, (len(categories), SUBTOPICS))
        self._mixture(rng, shares, mean)

    def subjects(
        self, rng: np.random.Generator, primary: Ints, second: Ints, own: float = OWN_HOME
    ) -> Subject:
        """Homes and so on of papers; `second` int64[n] is a category that each is listed in too,
        its primary one where there is none. own: the share that is at home in the primary one.
        """
        count = len(primary)
        flat = (self._elsewhere + np.arange(len(self._elsewhere))[:, None]).reshape(-1)
        drawn = np.searchsorted(flat, primary + rng.random(count) * 0.999999, side="right")
        other = np.where(second == primary, drawn % len(self._share), second)
        home = np.where(rng.random(count) < own, primary, other)
        subtopic = np.searchsorted(np.cumsum(self._subtopics)[:-1], rng.random(count))
        rank = np.searchsorted(np.cumsum(self._aspects)[:-1], rng.random(count))
        return Subject(home, subtopic, (self._place[home, subtopic] + rank) % ASPECT_POOL)

    def documents(self, rng: np.random.Generator, subject: Subject) -> Floats:
        """Unit vectors float32[n, d] of papers."""
        return _unit(self._noisy(rng, subject, 1.0) @ self._map + self._off)

    def phrases(self, rng: np.random.Generator, subject: Subject) -> Floats:
        """Unit vectors float32[n, d] of short phrases about the same: farther from any paper, and
        all shifted in one direction, as embeddings of phrases are from those of abstracts.
        """
        left = 1.0 - SUBTOPIC_SHARE - ASPECT_SHARE
        wide = self._noisy(rng, subject, math.sqrt((left + PHRASE_NOISE) / left))
        return _unit(wide @ self._map + (self._off + self._shift))

    def _noisy(self, rng: np.random.Generator, subject: Subject, times: float) -> Floats:
        """Latent points float32[n, rank]."""
        points = rng.standard_normal((len(subject.home), self.rank), np.float32)
        points *= self._noise * np.float32(times)
        points += self._centres32[subject.home, subject.subtopic]
        points += self._pool32[subject.aspect]
        return points

    def _mixture(self, rng: np.random.Generator, shares: Doubles, mean: float) -> None:
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
        left = self._left * (1.0 - SUBTOPIC_SHARE - ASPECT_SHARE)
        self._noise = np.sqrt(left).astype(np.float32)
        self._centres32 = self._centres.astype(np.float32)
        self._pool32 = self._pool.astype(np.float32)

    def _moments(self) -> tuple[Doubles, Doubles]:
        """Mean [rank] and covariance [rank, rank] of latent points, exactly."""
        away = self._share @ _rows_to_one(self.affinity * self._share)
        homes = OWN_HOME * self._share + (1.0 - OWN_HOME) * away
        weights = (homes[:, None] * self._subtopics).reshape(-1)
        places = (self._place.reshape(-1, 1) + np.arange(ASPECTS)) % ASPECT_POOL
        usual = np.einsum("ijk,j->ik", self._pool[places], self._aspects)
        points = self._centres.reshape(-1, self.rank) + usual
        centre = weights @ points
        often = np.bincount(
            places.reshape(-1), np.outer(weights, self._aspects).reshape(-1), ASPECT_POOL
        )
        covariance = (points.T * weights) @ points - np.outer(centre, centre)
        covariance += (self._pool.T * often) @ self._pool - (usual.T * weights) @ usual
        noise = self._left * (1.0 - SUBTOPIC_SHARE - ASPECT_SHARE)
        return centre, covariance + np.diag(noise)


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
    """Centres [categories, 1, rank]: field, archive and category; archives fill few directions."""
    archives = sorted({c.archive for c in categories})
    fields = list(FIELDS)
    archive = np.array([archives.index(c.archive) for c in categories])
    field = np.array([fields.index(field_of(c.archive)) for c in categories])
    between = _home_shares(rank)
    broad = between * 0.9 / (1.0 + (np.arange(1, rank + 1) / 3.0) ** 1.5)
    centres = np.sqrt(0.3 * broad) * rng.standard_normal((len(fields), rank))[field]
    centres += np.sqrt(0.7 * broad) * rng.standard_normal((len(archives), rank))[archive]
    centres += np.sqrt(between - broad) * rng.standard_normal((len(categories), rank))
    return np.asarray(centres[:, None, :])


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
