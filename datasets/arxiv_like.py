"""A seeded data set that looks like arXiv, for demos and tests that may not download anything.

The records (titles, abstracts, categories, dates, authors, versions) follow arXiv's marginals, and
differ between archives as real ones do; the **vectors are simulated**, not computed from the text
(`arxiv_vectors`): a mixture of topics with the eigenvalue spectrum of a real model, in which
categories and neighbourhoods correlate as they do in real embeddings. The text speaks of the same
topics. Every table says so in its schema metadata: b"fanns.vectors" is b"simulated".

The same seed, sizes and numpy version give the same bytes. Rows come in blocks that are seeded
one by one: a long data set begins with the whole blocks of a shorter one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .arxiv_habits import MIGRATION_DAY, Habits, licenses
from .arxiv_people import People
from .arxiv_text import Writer
from .arxiv_topics import categories
from .arxiv_vectors import Space
from .spectrum import Spectrum

# Raise it when the same size and seed give other rows, queries or vectors than before: what was
# made of others is then made anew.
EDITION = "fanns.datasets.arxiv_like, edition 3"
BLOCK = 50_000  # rows of one seeded block
METADATA = {b"fanns.vectors": b"simulated", b"fanns.source": b"fanns.datasets.arxiv_like"}
TEXTS = pa.list_(pa.field("element", pa.string()))  # named as Parquet names it
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def items(
    rows: int = 20_000, dimensions: int = 384, seed: int = 0, spectrum: Spectrum | None = None
) -> pa.Table:
    """The items: id, title, abstract, primary_category, categories, authors, submitter,
    submitted_date, updated_date (null: never), versions, comments, doi, journal_ref, license,
    embedding (float32[dimensions], unit length).

    `spectrum` is that of the vectors; by default a formula that fits all-MiniLM-L6-v2, of at most
    1,024 directions and the mean. Raises InputError when it has more directions than dimensions.
    """
    made = batches(rows, dimensions, seed, spectrum)
    return pa.Table.from_batches(made, schema=schema(dimensions, seed))


def batches(
    rows: int, dimensions: int = 384, seed: int = 0, spectrum: Spectrum | None = None
) -> Iterator[pa.RecordBatch]:
    """The same items block by block, for sets larger than memory."""
    world, used = _World(dimensions, seed, spectrum), Counter[int]()
    for block, start in enumerate(range(0, rows, BLOCK)):
        rng = np.random.default_rng([seed, 1, block])
        columns = world.records(rng, min(BLOCK, rows - start))
        columns["id"] = _ids(columns["submitted_date"], used, width=5 if rows <= 2_000_000 else 7)
        columns["submitted_date"] = pa.array(columns["submitted_date"].astype(np.int32)).cast(
            pa.date32()
        )
        target = schema(dimensions, seed)
        yield pa.RecordBatch.from_arrays([columns[name] for name in target.names], schema=target)


def as_records(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Items as arXiv's metadata snapshot has them: without vectors, and instead of updated_date
    with update_date, that of the last change of any kind, which is never null nor before the day
    since which arXiv keeps it.
    """
    changed = pc.coalesce(batch["updated_date"], batch["submitted_date"])
    first = pa.scalar(MIGRATION_DAY, pa.int32()).cast(pa.date32())
    changed = pc.if_else(pc.less(changed, first), first, changed)
    kept = [name for name in batch.schema.names if name not in ("updated_date", "embedding")]
    return pa.RecordBatch.from_arrays(
        [*(batch[name] for name in kept), changed], [*kept, "update_date"]
    )


def queries(
    count: int = 200, dimensions: int = 384, seed: int = 0, spectrum: Spectrum | None = None
) -> pa.Table:
    """Queries like short search phrases: text, primary_category, embedding (unit length).

    Their vectors lie near a subtopic of their category and are shifted away from all documents by
    a common direction, as embeddings of phrases are from those of abstracts.
    """
    world, rng = _World(dimensions, seed, spectrum), np.random.default_rng([seed, 2])
    primary = world.draw_categories(rng, count)
    subject = world.space.subjects(rng, primary, primary)
    target = pa.schema(
        [
            pa.field("text", pa.string()),
            pa.field("primary_category", pa.string()),
            pa.field("embedding", _vector_type(dimensions)),
        ],
        metadata=_metadata(seed),
    )
    columns = [
        world.writer.titles(rng, subject.home, subject.subtopic),
        world.names.take(pa.array(primary)),
        _vector_array(world.space.phrases(rng, subject)),
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
            pa.field("submitter", text),
            pa.field("submitted_date", dates),
            pa.field("updated_date", dates),
            pa.field("versions", pa.int16()),
            pa.field("comments", text),
            pa.field("doi", text),
            pa.field("journal_ref", text),
            pa.field("license", text),
            pa.field("embedding", _vector_type(dimensions)),
        ],
        metadata=_metadata(seed),
    )


def _metadata(seed: int) -> dict[bytes, bytes]:
    return {**METADATA, b"fanns.seed": str(seed).encode()}


class _World:
    """What all blocks of one seed share: topics, people, habits, and the space of vectors."""

    def __init__(self, dimensions: int, seed: int, spectrum: Spectrum | None) -> None:
        self.categories = categories()
        self.writer = Writer(self.categories)
        self.names = pa.array([c.name for c in self.categories])
        archives = sorted({c.archive for c in self.categories})
        self._archive_of = np.array([archives.index(c.archive) for c in self.categories])
        shares = np.array([c.share for c in self.categories])
        self._shares = shares / shares.sum()
        of_archives = np.bincount(self._archive_of, self._shares).astype(np.float64)
        self.habits = Habits([c.archive for c in self.categories], self._shares)
        self.people = People(of_archives)
        self.space = Space(self.categories, dimensions, seed, spectrum)
        with np.errstate(divide="ignore"):  # no paper is cross-listed to its own category
            self._cross = np.log(self._shares) + np.log(self.space.affinity)

    def draw_categories(self, rng: np.random.Generator, count: int) -> Ints:
        return rng.choice(len(self._shares), size=count, p=self._shares)

    def records(self, rng: np.random.Generator, count: int) -> dict[str, Any]:
        """All columns of `count` items but the id; submitted_date as int64 days."""
        primary = self.draw_categories(rng, count)
        archive = self._archive_of[primary]
        flat, offsets = self._cross_list(rng, primary, self.habits.counts(rng, primary))
        second = flat[np.minimum(offsets[:-1] + 1, offsets[1:] - 1)]
        subject = self.space.subjects(rng, primary, second)
        days, early = self.habits.submitted(rng, primary, subject.home)
        versions, updated = self.habits.revisions(rng, primary, days)
        sizes = self.habits.authors(rng, subject.home)
        authors, submitters = self.people.draw(rng, archive, sizes)
        dois, journals = self.habits.references(rng, primary, days)
        return {
            "title": self.writer.titles(rng, subject.home, subject.subtopic),
            "abstract": self.writer.abstracts(rng, subject.home, subject.subtopic, primary),
            "primary_category": self.names.take(pa.array(primary)),
            "categories": _lists(self.names.take(pa.array(flat)), offsets),
            "authors": authors,
            "submitter": submitters,
            "submitted_date": days,
            "updated_date": updated,
            "versions": versions,
            "comments": self.habits.comments(rng, primary, early),
            "doi": dois,
            "journal_ref": journals,
            "license": licenses(rng, days),
            "embedding": _vector_array(self.space.documents(rng, subject)),
        }

    def _cross_list(
        self, rng: np.random.Generator, primary: Ints, counts: Ints
    ) -> tuple[Ints, Ints]:
        """Category lists with the primary first and `counts` more: flat int64[total], offsets
        int64[n + 1].
        """
        offsets = np.concatenate([[0], np.cumsum(counts + 1)])
        flat = np.empty(offsets[-1], np.int64)
        flat[offsets[:-1]] = primary
        more = np.flatnonzero(counts)
        most = int(counts.max(initial=0))
        # Gumbel noise on log odds: the largest are a weighted draw without replacement.
        odds = self._cross[primary[more]]
        odds -= np.log(rng.standard_exponential(odds.shape))
        drawn = np.argsort(-odds, axis=1)[:, :most]
        for extra in range(most):
            rows = counts[more] > extra
            flat[offsets[more[rows]] + 1 + extra] = drawn[rows, extra]
        return flat, offsets


def _ids(days: Ints, used: Counter[int], width: int) -> pa.Array:
    """Unique ids in arXiv's form YYMM.NNNNN, numbered within the month of submission."""
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64).tolist()
    texts = []
    for month in months:
        used[month] += 1
        year = 1970 + month // 12
        texts.append(f"{year % 100:02d}{month % 12 + 1:02d}.{used[month]:0{width}d}")
    return pa.array(texts, pa.string())


def _lists(values: pa.Array, offsets: Ints) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, TEXTS)


def _vector_array(vectors: Floats) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=_vector_type(vectors.shape[1]))


def _vector_type(dimensions: int) -> pa.DataType:
    return pa.list_(pa.field("element", pa.float32()), dimensions)
