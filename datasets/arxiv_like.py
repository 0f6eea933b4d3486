"""A seeded data set that looks like arXiv, for demos and tests that may not download anything.

The records (titles, abstracts, categories, dates, authors, versions) follow arXiv's marginals; the
**vectors are simulated**, not computed from the text: a two-level topic mixture (archives, then
categories and subtopics) in a latent space, so that categories and neighbourhoods correlate as
they do in real embeddings. Every table says so in its schema metadata: b"fanns.vectors" is
b"simulated".

The same seed, sizes and numpy version give the same bytes. Rows come in blocks that are seeded
one by one, so a long data set starts with the rows of a shorter one only block by block.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .arxiv_text import Writer
from .arxiv_topics import categories, field_of

BLOCK = 50_000  # rows of one seeded block
LATENT = 96  # dimensions of the latent space; the effective rank of the vectors
SUBTOPICS = 12  # per category
# Spreads in the latent space. With these, nearest neighbours share their primary category about as
# often (0.31) as in MiniLM embeddings of real abstracts (0.32).
LEVEL = np.float32(0.4)  # of archives, of categories in them, of subtopics in those
NOISE = np.float32(1.0)  # of a document, or a query, around its subtopic

# Share of papers with 1, 2, ... categories, in arXiv's own marginal.
CATEGORY_COUNTS = np.array([52.8, 29.9, 12.0, 3.8, 1.2, 0.27, 0.03])
COMMENTS_SHARE = 0.742
DOI_SHARE = 0.45
AUTHORS_NULL_SHARE = 0.002
SECOND_VERSION_SHARE = 0.38
FIRST_DAY = np.datetime64("1991-08-14").astype("datetime64[D]").astype(np.int64)
LAST_DAY = np.datetime64("2025-05-08").astype("datetime64[D]").astype(np.int64)
MIGRATION_DAY = np.datetime64("2007-05-23").astype("datetime64[D]").astype(np.int64)
LICENSES = {
    "http://arxiv.org/licenses/nonexclusive-distrib/1.0/": 0.62,
    "http://creativecommons.org/licenses/by/4.0/": 0.15,
    "http://creativecommons.org/licenses/by-nc-nd/4.0/": 0.03,
    "http://creativecommons.org/licenses/by-nc-sa/4.0/": 0.02,
    "http://creativecommons.org/publicdomain/zero/1.0/": 0.01,
    None: 0.17,
}
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

METADATA = {b"fanns.vectors": b"simulated", b"fanns.source": b"fanns.datasets.arxiv_like"}
TEXTS = pa.list_(pa.field("element", pa.string()))  # named as Parquet names it
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def items(rows: int = 20_000, dimensions: int = 384, seed: int = 0) -> pa.Table:
    """The items: id, title, abstract, primary_category, categories, authors, submitted_date,
    updated_date, versions, comments, doi, license, embedding (float32[dimensions], unit length).
    """
    return pa.Table.from_batches(batches(rows, dimensions, seed), schema=schema(dimensions, seed))


def batches(rows: int, dimensions: int = 384, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """The same items block by block, for sets larger than memory."""
    world, used = _World(dimensions, seed), Counter[int]()
    for block, start in enumerate(range(0, rows, BLOCK)):
        rng = np.random.default_rng([seed, 1, block])
        columns = world.records(rng, min(BLOCK, rows - start), rows)
        columns["id"] = _ids(columns["submitted_date"], used, width=5 if rows <= 2_000_000 else 7)
        columns["submitted_date"] = pa.array(columns["submitted_date"].astype(np.int32)).cast(
            pa.date32()
        )
        target = schema(dimensions, seed)
        yield pa.RecordBatch.from_arrays([columns[name] for name in target.names], schema=target)


def queries(count: int = 200, dimensions: int = 384, seed: int = 0) -> pa.Table:
    """Queries like short search phrases: text, primary_category, embedding (unit length).

    Their vectors lie near a subtopic of their category and are shifted away from all documents by
    a common direction, as embeddings of phrases are from those of abstracts.
    """
    world, rng = _World(dimensions, seed), np.random.default_rng([seed, 2])
    primary = world.draw_categories(rng, count)
    target = pa.schema(
        [
            pa.field("text", pa.string()),
            pa.field("primary_category", pa.string()),
            pa.field("embedding", _vector_type(dimensions)),
        ],
        metadata=_metadata(seed),
    )
    columns = [
        world.writer.titles(rng, primary),
        world.names.take(pa.array(primary)),
        _vector_array(world.query_vectors(rng, primary)),
    ]
    return pa.Table.from_arrays(columns, schema=target)


def schema(dimensions: int, seed: int) -> pa.Schema:
    """The Arrow schema of `items`, with metadata that marks the vectors as simulated."""
    text, dates = pa.string(), pa.date32()
    return pa.schema(
        [
            pa.field("id", text),
            pa.field("title", text),
            pa.field("abstract", text),
            pa.field("primary_category", text),
            pa.field("categories", TEXTS),
            pa.field("authors", TEXTS),
            pa.field("submitted_date", dates),
            pa.field("updated_date", dates),
            pa.field("versions", pa.int16()),
            pa.field("comments", text),
            pa.field("doi", text),
            pa.field("license", text),
            pa.field("embedding", _vector_type(dimensions)),
        ],
        metadata=_metadata(seed),
    )


def _metadata(seed: int) -> dict[bytes, bytes]:
    return {**METADATA, b"fanns.seed": str(seed).encode()}


class _World:
    """What all blocks of one seed share: topics, their centres, and the map to vectors."""

    def __init__(self, dimensions: int, seed: int):
        rng = np.random.default_rng([seed, 0])
        self.categories = categories()
        self.writer = Writer(self.categories)
        self.names = pa.array([c.name for c in self.categories])
        self.archives = sorted({c.archive for c in self.categories})
        self._archive_of = np.array([self.archives.index(c.archive) for c in self.categories])
        shares = np.array([c.share for c in self.categories])
        self._shares = shares / shares.sum()
        self._cross = np.log(self._shares) + self._affinity()
        self._centres = self._topic_centres(rng)
        spectrum = np.arange(1, LATENT + 1, dtype=np.float32)[:, None] ** np.float32(-0.4)
        spectrum /= np.sqrt((spectrum * spectrum).sum() * np.float32(dimensions))
        # A latent point with unit variance in each place becomes a vector of length about 1.
        self._map = rng.standard_normal((LATENT, dimensions), np.float32) * spectrum
        self._common, self._phrase = _unit(rng.standard_normal((2, dimensions), np.float32))

    def draw_categories(self, rng: np.random.Generator, count: int) -> Ints:
        return rng.choice(len(self._shares), size=count, p=self._shares)

    def records(self, rng: np.random.Generator, count: int, total: int) -> dict[str, Any]:
        """All columns of `count` items but the id; submitted_date as int64 days."""
        primary = self.draw_categories(rng, count)
        flat, offsets = self._cross_list(rng, primary)
        last = flat[offsets[1:] - 1]
        days = _submitted(rng, count)
        versions, updated = _revisions(rng, days)
        return {
            "title": self.writer.titles(rng, primary),
            "abstract": self.writer.abstracts(rng, primary, last),
            "primary_category": self.names.take(pa.array(primary)),
            "categories": _lists(self.names.take(pa.array(flat)), offsets),
            "authors": self._authors(rng, primary, total),
            "submitted_date": days,
            "updated_date": updated,
            "versions": versions,
            "comments": _comments(rng, count),
            "doi": _dois(rng, count),
            "license": _choices(rng, count, LICENSES),
            "embedding": _vector_array(self._vectors(rng, primary, last)),
        }

    def query_vectors(self, rng: np.random.Generator, primary: Ints) -> Floats:
        """Unit vectors [n, d] of short phrases about the given categories."""
        subtopic = rng.integers(0, SUBTOPICS, len(primary))
        latent = self._centres[primary, subtopic]
        latent = latent + NOISE * rng.standard_normal(latent.shape, np.float32)
        return _unit(self._place(latent) + np.float32(0.6) * self._phrase)

    def _vectors(self, rng: np.random.Generator, primary: Ints, last: Ints) -> Floats:
        """Unit vectors [n, d] of documents: their subtopic, a second subject, and noise."""
        subtopic = np.minimum(rng.geometric(0.2, (2, len(primary))) - 1, SUBTOPICS - 1)
        weight = np.float32(0.35) * (primary != last)[:, None]
        latent = (1 - weight) * self._centres[primary, subtopic[0]]
        latent += weight * self._centres[last, subtopic[1]]
        latent += NOISE * rng.standard_normal(latent.shape, np.float32)
        vectors = self._place(latent)
        spread = np.float32(0.5 / math.sqrt(vectors.shape[1]))  # full rank, as real vectors are
        vectors += spread * rng.standard_normal(vectors.shape, np.float32)
        return _unit(vectors)

    def _place(self, latent: Floats) -> Floats:
        """Latent points [n, LATENT] in the vector space, off centre as real embeddings are."""
        placed: Floats = latent @ self._map + np.float32(0.2) * self._common
        return placed

    def _topic_centres(self, rng: np.random.Generator) -> Floats:
        """Latent centres [categories, SUBTOPICS, LATENT]: archive + category + subtopic."""
        archives = rng.standard_normal((len(self.archives), LATENT), np.float32)
        own = rng.standard_normal((len(self.categories), LATENT), np.float32)
        subtopics = rng.standard_normal((len(self.categories), SUBTOPICS, LATENT), np.float32)
        broad = LEVEL * archives[self._archive_of] + LEVEL * own
        centres: Floats = broad[:, None, :] + LEVEL * subtopics
        return centres

    def _affinity(self) -> NDArray[np.float64]:
        """Log odds [c, c] that a paper of one category is cross-listed to another."""
        fields = np.array([field_of(c.archive) for c in self.categories])
        same_archive = self._archive_of[:, None] == self._archive_of[None, :]
        affinity: NDArray[np.float64] = 3.0 * same_archive + 1.2 * (
            fields[:, None] == fields[None, :]
        )
        np.fill_diagonal(affinity, -np.inf)
        return affinity

    def _cross_list(self, rng: np.random.Generator, primary: Ints) -> tuple[Ints, Ints]:
        """Category lists with the primary first: flat int64[total], offsets int64[n + 1]."""
        counts = rng.choice(
            len(CATEGORY_COUNTS), size=len(primary), p=CATEGORY_COUNTS / CATEGORY_COUNTS.sum()
        )
        offsets = np.concatenate([[0], np.cumsum(counts + 1)])
        flat = np.empty(offsets[-1], np.int64)
        flat[offsets[:-1]] = primary
        more = np.flatnonzero(counts)
        most = len(CATEGORY_COUNTS) - 1
        # Gumbel noise on log odds: the largest are a weighted draw without replacement.
        odds = self._cross[primary[more]]
        odds -= np.log(rng.standard_exponential(odds.shape))
        drawn = np.argsort(-odds, axis=1)[:, :most]
        for extra in range(most):
            rows = counts[more] > extra
            flat[offsets[more[rows]] + 1 + extra] = drawn[rows, extra]
        return flat, offsets

    def _authors(self, rng: np.random.Generator, primary: Ints, total: int) -> pa.Array:
        """Lists of names: sizes with a lognormal tail, names Zipf within an archive."""
        count = len(primary)
        sizes = np.clip(np.exp(rng.normal(0.9, 0.75, count)), 1, 60).astype(np.int64)
        owner = np.repeat(np.arange(count), sizes)
        community = max(30, int(0.6 * total) // len(self.archives))
        rank = (community ** rng.random(len(owner)) - 1).astype(np.int64)
        # Half of all places go evenly to the many who write one paper or two.
        rank = np.where(rng.random(len(owner)) < 0.5, rank, rng.integers(0, community, len(owner)))
        author = rank * len(self.archives) + self._archive_of[primary[owner]]
        pair = owner * (community * len(self.archives)) + author
        first = np.sort(np.unique(pair, return_index=True)[1])  # an author once a paper
        owner, author = owner[first], author[first]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))])
        known, place = np.unique(author, return_inverse=True)
        names = pa.array([_name(number) for number in known.tolist()], pa.string())
        absent = pa.array(rng.random(count) < AUTHORS_NULL_SHARE)
        return _lists(names.take(pa.array(place)), offsets, absent)


def _name(number: int) -> str:
    """The name of an author: first name, initials where needed, last name."""
    # 7919 is prime to the table sizes: neighbours in rank get unlike names.
    mixed = (number * 7919) % (len(FIRST_NAMES) * len(LAST_NAMES))
    turn = number // (len(FIRST_NAMES) * len(LAST_NAMES))
    first, last = FIRST_NAMES[mixed % len(FIRST_NAMES)], LAST_NAMES[mixed // len(FIRST_NAMES)]
    initials = ""
    while turn:
        turn, letter = divmod(turn - 1, 26)
        initials += f" {chr(65 + letter)}."
    return f"{first}{initials} {last}"


def _submitted(rng: np.random.Generator, count: int) -> Ints:
    """Days since 1970 with a density that grows linearly from the first day to the last."""
    share = np.sqrt(rng.random(count))  # a linear density has a quadratic distribution
    days: Ints = FIRST_DAY + (share * (LAST_DAY - FIRST_DAY)).astype(np.int64)
    return days


def _revisions(rng: np.random.Generator, days: Ints) -> tuple[pa.Array, pa.Array]:
    """Numbers of versions, and the date of the last one (null for papers never revised)."""
    count = len(days)
    revised = rng.random(count) < SECOND_VERSION_SHARE
    versions = np.where(revised, 1 + rng.geometric(0.62, count), 1).astype(np.int16)
    lag = 1 + np.exp(rng.normal(4.6, 1.3, count)).astype(np.int64)
    # Dates of older revisions were lost in a migration: they pile up on its day.
    updated = np.clip(np.maximum(days + lag, MIGRATION_DAY), None, LAST_DAY)
    days32 = pa.array(updated.astype(np.int32), mask=~revised)
    return pa.array(versions), days32.cast(pa.date32())


def _comments(rng: np.random.Generator, count: int) -> pa.Array:
    """Texts such as "12 pages, 3 figures"; null for about 26 %."""
    pages, figures = 4 + rng.geometric(0.06, count), rng.geometric(0.15, count) - 1
    kind, absent = rng.integers(0, 4, count), rng.random(count) >= COMMENTS_SHARE
    texts = [
        None
        if none
        else f"{p} pages"
        if f == 0
        else f"{p} pages, {f} figure{'s' * (f > 1)}{'; minor corrections' * (form == 0)}"
        for p, f, form, none in zip(
            pages.tolist(), figures.tolist(), kind.tolist(), absent.tolist(), strict=True
        )
    ]
    return pa.array(texts, pa.string())


def _dois(rng: np.random.Generator, count: int) -> pa.Array:
    """Simulated identifiers under the test prefix 10.5555; null for about 55 %."""
    present = (rng.random(count) < DOI_SHARE).tolist()
    numbers = rng.integers(0, 1 << 40, count).tolist()
    texts = [
        f"10.5555/{n:010x}" if there else None for n, there in zip(numbers, present, strict=True)
    ]
    return pa.array(texts, pa.string())


def _choices(rng: np.random.Generator, count: int, shares: dict[str | None, float]) -> pa.Array:
    """Independent draws from a few values with the given shares."""
    drawn = rng.choice(len(shares), size=count, p=list(shares.values()))
    return pa.array(list(shares), pa.string()).take(pa.array(drawn))


def _ids(days: Ints, used: Counter[int], width: int) -> pa.Array:
    """Unique ids in arXiv's form YYMM.NNNNN, numbered within the month of submission."""
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64).tolist()
    texts = []
    for month in months:
        used[month] += 1
        year = 1970 + month // 12
        texts.append(f"{year % 100:02d}{month % 12 + 1:02d}.{used[month]:0{width}d}")
    return pa.array(texts, pa.string())


def _lists(values: pa.Array, offsets: Ints, absent: pa.Array | None = None) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, TEXTS, mask=absent)


def _unit(vectors: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32))
    unit: Floats = vectors / lengths[:, None]
    return unit


def _vector_array(vectors: Floats) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=_vector_type(vectors.shape[1]))


def _vector_type(dimensions: int) -> pa.DataType:
    return pa.list_(pa.field("element", pa.float32()), dimensions)
