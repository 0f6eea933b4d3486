"""Shards of texts to shards of vectors: streamed, told of, and gone on with after a kill.

A shard is read window by window. The distinct texts of a window that no cache holds are embedded
from the longest to the shortest, so that those of a batch take little padding, and every batch is
in the cache before the next begins. What a killed run has embedded is thus a run of whole batches,
and the run that goes on embeds the others in the same batches: its vectors are the same to the bit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from . import vector_cache
from .encoders import Encoder
from .parquet_files import streamed
from .vector_cache import VectorCache, key_of

STAGE = "embeddings"
COLUMN = "embedding"
WINDOW = 8192  # rows that are sorted, and whose vectors are held, at a time
EVERY = 30.0  # seconds between lines of talk

Floats = NDArray[np.float32]
Texts = Callable[[pa.Table], list[str]]
Report = Callable[[str, int, int], None]
Say = Callable[[str], None]


def embed_shards(
    sources: Sequence[Path],
    text_of: Texts,
    encoder: Encoder,
    out: Path,
    *,
    cache: Path | None = None,
    report: Report | None = None,
    say: Say | None = None,
    window: int = WINDOW,
) -> list[Path]:
    """The vectors of the rows of Parquet files, as embeddings-00000.parquet, ... in `out`.

    sources: one file a shard. text_of: the texts of a table's rows. cache: a folder that keeps
    vectors by text and encoder's settings for other runs; without one a shard's vectors are kept
    beside it until it is whole. report: called with (STAGE, rows done, rows in all). say: called
    with a line on speed and remaining time, now and then and at the end.

    A shard's column `embedding` (fixed-size lists of float32) has a row for each of its source, in
    order. Shards appear whole or not at all; those that are there are left as they are.

    Raises InputError for shards of another encoder, or for texts that it gives no numbers for;
    StorageError where files cannot be read or written.
    """
    rows = [_rows(path) for path in sources]
    pace = Pace(sum(rows), report, say)
    targets = [out / f"{STAGE}-{number:05d}.parquet" for number in range(len(sources))]
    for source, target, count in zip(sources, targets, rows, strict=True):
        own = target.with_suffix(".sqlite")
        if target.exists():
            _check_shard(target, count, encoder)
            pace.shard(count)
        else:
            path = own if cache is None else vector_cache.file_of(cache, encoder.settings)
            with vector_cache.opened(path, encoder.settings, encoder.dimensions) as store:
                _embed_shard(source, target, text_of, encoder, store, pace, window)
        vector_cache.remove(own)
    pace.end()
    return targets


class Pace:
    """How far the embedding is and how fast it goes, told to `report` and `say`."""

    def __init__(self, rows: int, report: Report | None, say: Say | None) -> None:
        self._rows, self._report, self._say = rows, report, say
        self._done = self._embedded = self._characters = self._all_characters = 0
        self._ahead = rows  # in windows that have not begun
        self._windows = 0  # rows of those that have
        self._left = 0  # characters to embed in this window
        self._begun = self._told = time.monotonic()

    def window(self, rows: int, characters: int) -> None:
        """A window begins: its rows, and the characters of what is to be embedded of it."""
        self._windows += rows
        self._ahead -= rows
        self._all_characters += characters
        self._left = characters

    def shard(self, rows: int) -> None:
        """A shard that was there: its rows."""
        self._ahead -= rows
        self.skip(rows)

    def skip(self, rows: int) -> None:
        """Rows of a window whose vectors were there."""
        self._done += rows
        self._tell()

    def embedded(self, rows: int, characters: int) -> None:
        """Rows that one batch gave vectors to, and its texts' characters."""
        self._done += rows
        self._embedded += rows
        self._characters += characters
        self._left -= characters
        self._tell()

    def end(self) -> None:
        if self._say is not None and self._embedded:
            taken = max(time.monotonic() - self._begun, 1e-9)
            there = self._rows - self._embedded
            self._say(
                f"embedded {self._embedded:,} texts in {_duration(taken)}, "
                f"{self._embedded / taken:,.0f} a second; {there:,} were there"
            )

    def _tell(self) -> None:
        if self._report is not None:
            self._report(STAGE, self._done, self._rows)
        now = time.monotonic()
        if self._say is None or now - self._told < EVERY or not self._characters:
            return
        self._told, taken = now, now - self._begun
        ahead = self._left + self._ahead * self._all_characters / self._windows
        self._say(
            f"embedded {self._done:,} of {self._rows:,} texts, {self._embedded / taken:,.0f} a "
            f"second, {_duration(taken * ahead / self._characters)} to go"
        )


def _embed_shard(
    source: Path,
    target: Path,
    text_of: Texts,
    encoder: Encoder,
    store: VectorCache,
    pace: Pace,
    window: int,
) -> None:
    kind = pa.list_(pa.float32(), encoder.dimensions)
    schema = pa.schema([pa.field(COLUMN, kind)], {b"fanns.model": encoder.name.encode()})
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            streamed(source) as file,
            pq.ParquetWriter(partial, schema, compression="none", use_dictionary=False) as writer,
        ):
            for batch in file.iter_batches(window):
                texts = text_of(pa.Table.from_batches([batch]))
                flat = pa.array(_embed(texts, encoder, store, pace).reshape(-1))
                column = pa.FixedSizeListArray.from_arrays(flat, type=kind)
                writer.write_table(pa.Table.from_arrays([column], schema=schema))
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, target)
    except (StorageError, InputError):
        raise
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot make {target} of {source}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _embed(texts: list[str], encoder: Encoder, store: VectorCache, pace: Pace) -> Floats:
    """The vectors float32[n, d] of texts, by the store where it has them."""
    vectors = np.empty((len(texts), encoder.dimensions), np.float32)
    places: dict[bytes, list[int]] = {}
    for row, text in enumerate(texts):
        places.setdefault(key_of(text), []).append(row)
    for key, vector in store.find(list(places)).items():
        vectors[places.pop(key)] = vector
    first = {key: texts[rows[0]] for key, rows in places.items()}
    missing = sorted(places, key=lambda key: -len(first[key]))
    pace.window(len(texts), sum(map(len, first.values())))
    pace.skip(len(texts) - sum(map(len, places.values())))
    for start in range(0, len(missing), encoder.batch):
        keys = missing[start : start + encoder.batch]
        asked = [first[key] for key in keys]
        made = _checked(encoder.documents(asked), len(keys), encoder)
        store.keep(keys, made)
        for key, vector in zip(keys, made, strict=True):
            vectors[places[key]] = vector
        pace.embedded(sum(len(places[key]) for key in keys), sum(map(len, asked)))
    return vectors


def _checked(made: Floats, count: int, encoder: Encoder) -> Floats:
    if made.shape != (count, encoder.dimensions) or not np.isfinite(made).all():
        raise InputError(
            f"the encoder {encoder.name!r} gave {made.dtype}{list(made.shape)} for {count} texts: "
            f"expected finite vectors of {encoder.dimensions} dimensions"
        )
    return made


def _check_shard(path: Path, rows: int, encoder: Encoder) -> None:
    """Whether a shard that is there is that of these rows and this encoder."""
    try:
        file = pq.read_metadata(path)
        schema = file.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} cannot be read: {error}; remove it") from error
    model = (schema.metadata or {}).get(b"fanns.model", b"").decode()
    if model != encoder.name:
        raise InputError(
            f"{path} was embedded by {model!r}, not by {encoder.name!r}: go on with that, or "
            "choose another folder"
        )
    if file.num_rows != rows:
        raise InputError(f"{path} has {file.num_rows} rows, its source has {rows}: remove it")


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} cannot be read as Parquet: {error}") from error


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
