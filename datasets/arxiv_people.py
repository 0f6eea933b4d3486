"""Simulated authors and submitters.

Authors come from a fixed population, as if papers were drawn from all of arXiv: 1.6 million people,
split among archives, a twentieth of whom write half of it. On 100,000 papers that gives about as
many names, and names that occur once, as real records have.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

POPULATION = 1_600_000
PRODUCTIVE = 20  # one in so many writes more: half of all authorships are theirs
NULL_SHARE = 0.002  # papers without authors
FIRST_SUBMITS, LAST_SUBMITS = 0.7, 0.2  # else another of the authors
FIRST_NAMES = str.split(
    """Ada Alan Alice Amir Ana Andrea Anna Antonio Bin Boris Carlos Chen Chiara Claire
Daniel David Dmitri Elena Emma Eric Fatima Feng Francesco George Giulia Hans Hao Hiroshi Igor Ines
Ivan James Jan Jing Joao John Julia Kai Karl Kenji Laura Lei Li Luca Maria Marie Mark Mei Michael
Min Mohammed Natalia Nina Olga Omar Paolo Paul Pedro Peter Priya Qing Rahul Robert Rosa Ryo Sara
Sergei Sofia Stefan Sven Tanya Thomas Tom Wei Xin Yan Yuki Zhang"""
)
LAST_NAMES = str.split(
    """Abe Ahmed Almeida Andersen Bauer Becker Bianchi Brown Chan Chen Choi Costa Das
Diaz Dubois Fernandez Ferrari Fischer Fontaine Fujita Garcia Gomez Green Gupta Haas Han Hansen
Hoffmann Huang Ito Ivanov Jensen Johnson Kaya Keller Khan Kim Kowalski Kumar Larsen Lee Lehmann
Lopez Ma Martin Meyer Miller Moreau Mori Nakamura Nguyen Novak Okafor Olsen Park Patel Petrov
Pham Popov Ricci Rossi Roux Sato Schmidt Schneider Sharma Silva Singh Smith Sokolov Suzuki Tanaka
Taylor Torres Virtanen Volkov Wagner Wang Weber White Williams Wong Wu Xu Yamamoto Yang Yilmaz
Zhang Zhao Zhou Zimmermann"""
)
_LETTERS = [f" {chr(65 + n)}." for n in range(26)]
_INITIALS = ["", *_LETTERS, *(a + b for a in _LETTERS for b in _LETTERS)]
Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


class People:
    """The authors of every archive; shares float64[a] are those of all papers, by archive."""

    def __init__(self, shares: Doubles) -> None:
        self._pools = np.maximum(30, (shares * POPULATION).astype(np.int64))
        self._first = np.cumsum(self._pools) - self._pools

    def draw(
        self, rng: np.random.Generator, archive: Ints, sizes: Ints
    ) -> tuple[pa.Array, pa.Array]:
        """Authors (list<string>) and submitters (string) of papers of archives int64[n], by up to
        `sizes` people each; both are null for few.
        """
        count = len(archive)
        owner, author = self._authorships(rng, archive, sizes)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))])
        known, place = np.unique(author, return_inverse=True)
        names = _names(known).take(pa.array(place))
        absent = pa.array(rng.random(count) < NULL_SHARE)
        element = pa.list_(pa.field("element", pa.string()))
        lists = pa.ListArray.from_arrays(
            pa.array(offsets.astype(np.int32)), names, element, mask=absent
        )
        submitters = names.take(pa.array(_submitting(rng, offsets)))
        return lists, pc.if_else(absent, pa.scalar(None, pa.string()), submitters)

    def _authorships(
        self, rng: np.random.Generator, archive: Ints, sizes: Ints
    ) -> tuple[Ints, Ints]:
        """Papers and their authors' numbers, flat, an author once a paper."""
        owner = np.repeat(np.arange(len(archive)), sizes)
        where = archive[owner]
        among = np.where(rng.random(len(owner)) < 0.5, 1.0, 1.0 / PRODUCTIVE)
        # A density that falls with the root of the rank has ranks that grow with its square.
        rank = (self._pools[where] * among * rng.random(len(owner)) ** 2).astype(np.int64)
        author = self._first[where] + rank
        pair = owner * (self._first[-1] + self._pools[-1]) + author
        first = np.sort(np.unique(pair, return_index=True)[1])
        return owner[first], author[first]


def _submitting(rng: np.random.Generator, offsets: Ints) -> Ints:
    """The place of each paper's submitter among all authorships."""
    first, sizes = offsets[:-1], np.diff(offsets)
    draw = rng.random(len(sizes))
    other = (rng.random(len(sizes)) * sizes).astype(np.int64)
    place = np.where(draw < FIRST_SUBMITS + LAST_SUBMITS, sizes - 1, other)
    return np.asarray(first + np.where(draw < FIRST_SUBMITS, 0, place))


def _names(numbers: Ints) -> pa.Array:
    """The name of each author: first name, initials where needed, last name."""
    pairs = len(FIRST_NAMES) * len(LAST_NAMES)
    # 7919 is prime to the table sizes: neighbours in rank get unlike names.
    mixed, turn = (numbers * 7919) % pairs, numbers // pairs
    parts = [
        pa.array(FIRST_NAMES).take(pa.array(mixed % len(FIRST_NAMES))),
        pa.array([f"{text} " for text in _INITIALS]).take(pa.array(turn)),
        pa.array(LAST_NAMES).take(pa.array(mixed // len(FIRST_NAMES))),
    ]
    return pc.binary_join_element_wise(*parts, "")
