"""Abstract-like sentences from templates and topic words, thousands of documents at a time.

A template is a row of slots: a fixed word, or a class of words to draw from (the words of the
sentence's category, of its archive, verbs, adjectives). All sentences of all documents are one
flat array of tokens; the strings are put together by Arrow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .arxiv_topics import ARCHIVE_WORDS, Category

Ints = NDArray[np.int64]

VERBS = str.split(
    """study analyze investigate derive propose compute characterize establish present
introduce measure examine describe compare estimate construct explain revisit"""
)
ADJECTIVES = str.split(
    """new general exact efficient robust nonlinear stochastic local strong
low-dimensional universal effective weak sparse dynamical finite adaptive optimal symmetric
high-resolution"""
)

# T a word of the category, A of the archive, V a verb, J an adjective.
SENTENCES = """
We V the J T of T in A
In this paper we V J A and their T
The T of T is shown to depend on the J A
We V J approaches to T based on A
Our results suggest that T are J for a wide class of A
Numerical simulations of A confirm the J behaviour of T
It is well known that J A play a central role in T
Using J T we V how A relate to T
Here we V T with A and V several J applications to T
The proposed method outperforms existing A on T
We find J relations between T and A
As a consequence we obtain J bounds on T for all A
These findings are in good agreement with J A and T
Recent work on T has raised questions about J A
We also discuss T and the possible role of J A
"""
TITLES = """
On the J T of A
Towards J T in A
J T and A
J approaches to T in A
T and T in J A
J A with T
a note on J T
The T of J A
Learning J T from A
T from J A
Constraints on T from J A
Evidence for J T in A
Revisiting T for J A
"""
_CLASSES = {"T": -1, "A": -2, "V": -3, "J": -4}


class Templates(NamedTuple):
    """Slots int64[t, longest] padded with 0, and how many of each row are used."""

    slots: Ints
    lengths: Ints


class Writer:
    """Writes titles and abstracts for documents whose categories are known."""

    def __init__(self, categories: tuple[Category, ...]):
        self._words: dict[str, int] = {}
        self._sentences, self._titles = self._templates(SENTENCES), self._templates(TITLES)
        self._verbs = np.array([self._index(word) for word in VERBS])
        self._adjectives = np.array([self._index(word) for word in ADJECTIVES])
        self._topic = _ragged([self._indexes(c.words) for c in categories])
        self._archive = _ragged(
            [self._indexes(ARCHIVE_WORDS[c.archive].split()) for c in categories]
        )
        words = list(self._words)
        capitals = [word[:1].upper() + word[1:] for word in words]
        # A token is a word, capitalised (+n), with a full stop (+2n).
        self._spelled = pa.array(words + capitals + [word + "." for word in words])

    def abstracts(
        self, rng: np.random.Generator, categories: Ints, subtopics: Ints, others: Ints
    ) -> pa.Array:
        """One abstract of four to twelve sentences per document.

        `categories` int64[n] is the main subject, with its subtopic; `others` int64[n] that of
        every third sentence.
        """
        counts = rng.integers(4, 13, len(categories))
        owner = np.repeat(np.arange(len(categories)), counts)
        subject = np.where(rng.random(len(owner)) < 0.3, others[owner], categories[owner])
        tokens, lengths = self._draw(rng, self._sentences, subject, subtopics[owner], stop=True)
        per_document = (
            np.add.reduceat(lengths, np.cumsum(counts) - counts) if len(counts) else counts
        )
        return self._join(tokens, per_document)

    def titles(self, rng: np.random.Generator, categories: Ints, subtopics: Ints) -> pa.Array:
        """One title, without a full stop, per document of categories and subtopics int64[n]."""
        return self._join(*self._draw(rng, self._titles, categories, subtopics, stop=False))

    def _draw(
        self,
        rng: np.random.Generator,
        templates: Templates,
        subject: Ints,
        subtopic: Ints,
        stop: bool,
    ) -> tuple[Ints, Ints]:
        """Tokens of one sentence per subject, flat, and the length of each sentence."""
        choice = rng.integers(0, len(templates.lengths), len(subject))
        lengths = templates.lengths[choice]
        ends = np.cumsum(lengths)
        position = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        tokens = templates.slots[np.repeat(choice, lengths), position]
        topic, turn = np.repeat(subject, lengths), np.repeat(subtopic, lengths)
        # Squaring the draw makes a subject's first words frequent and its last ones rare. Which
        # ones come first is the subtopic's turn.
        draw = rng.random(len(tokens)) ** 2
        for slot, table in ((-1, self._topic), (-2, self._archive)):
            at = np.flatnonzero(tokens == slot)
            words, sizes = table
            rows = topic[at]
            place = (draw[at] * sizes[rows]).astype(np.int64) + turn[at]
            tokens[at] = words[rows, place % sizes[rows]]
        for slot, flat in ((-3, self._verbs), (-4, self._adjectives)):
            at = np.flatnonzero(tokens == slot)
            tokens[at] = flat[(draw[at] * len(flat)).astype(np.int64)]
        tokens[ends - lengths] += len(self._words)
        if stop:
            tokens[ends - 1] += 2 * len(self._words)
        return tokens, lengths

    def _join(self, tokens: Ints, lengths: Ints) -> pa.Array:
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        words = self._spelled.take(pa.array(tokens))
        joined: Any = pc.binary_join(pa.ListArray.from_arrays(offsets, words), " ")
        return joined

    def _templates(self, text: str) -> Templates:
        rows = [
            [_CLASSES.get(w) or self._index(w) for w in line.split()] for line in text.split("\n")
        ]
        return Templates(*_ragged([np.array(row) for row in rows if row]))

    def _index(self, word: str) -> int:
        return self._words.setdefault(word, len(self._words))

    def _indexes(self, words: Any) -> Ints:
        return np.array([self._index(word) for word in words])


def _ragged(rows: list[Ints]) -> tuple[Ints, Ints]:
    """Rows of unequal length as a padded matrix and their lengths."""
    lengths = np.array([len(row) for row in rows])
    matrix = np.zeros((len(rows), int(lengths.max())), np.int64)
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix, lengths
