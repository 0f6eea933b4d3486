"""Word vectors trained on a data set's own texts: a fast encoder that needs no model.

Skip-gram vectors (`skipgram`), pooled by smooth inverse frequency: a text is the mean of its words'
vectors, each weighted by a / (a + p(word)), less its part along the first principal direction of
all texts (Arora, Liang and Ma, "A simple but tough-to-beat baseline for sentence embeddings",
2017). Weights and projection are linear, so both are in the word vectors that are saved, and the
folder is a sentence-transformers model like any other: a table of words and unit length.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError, StorageError

from . import skipgram
from .model_files import sentence_transformers
from .parquet_files import streamed

ABOUT = "static.json"
UNKNOWN = "[UNK]"
READING, TRAINING = "words", "word vectors"
LEAST_EPOCHS, MOST_EPOCHS = 3, 30
_BATCH = 1000  # texts that are taken apart at a time
_POOLED = 10_000  # texts whose common direction is removed
_POOLED_AT_ONCE = 500

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Texts = Callable[[pa.Table], list[str]]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Training:
    """How word vectors are trained and pooled.

    Attributes:
        documents: texts to train on at most, drawn from a seed where there are more.
        words: occurrences to train on at least, where 30 passes give so many; 3 passes at least.
        vocabulary: words at most, the most frequent ones. least_count: of a word in the texts.
        window, negatives, subsample, rate: see `skipgram.train`.
        smoothing: SIF's a. seed: of all that is drawn.
    """

    dimensions: int = 256
    documents: int = 100_000
    words: int = 40_000_000
    vocabulary: int = 100_000
    least_count: int = 5
    window: int = 10
    negatives: int = 5
    subsample: float = 1e-5
    rate: float = 0.05
    smoothing: float = 1e-3
    seed: int = 0


def train(
    sources: Sequence[Path],
    text_of: Texts,
    folder: Path,
    training: Training | None = None,
    *,
    report: Report | None = None,
) -> Path:
    """Trains on the texts of Parquet files and saves a model in `folder`, which `encoders.load`
    opens; the same texts and settings give the same bytes.

    text_of: the texts of a table's rows. report: called with a stage, what is done, and all. The
    folder appears whole or not at all; one that was trained with these settings is left as it is.

    Raises InputError for texts without words, or a folder that holds something else; StorageError
    where files cannot be read or written; MissingDependencyError without sentence-transformers.
    """
    training = training or Training()
    if folder.exists():
        _check_folder(folder, training)
        return folder
    sentence_transformers()
    rows = _drawn(sources, training)
    tokenizer = _tokenizer(_texts(sources, text_of, rows), training)
    words, starts = _numbered(tokenizer, _texts(sources, text_of, rows), len(rows), report)
    counts = np.bincount(words, minlength=tokenizer.get_vocab_size())
    if not counts[1:].any():
        raise InputError(
            f"no word occurs {training.least_count} times in the {len(rows):,} texts: too few to "
            "train word vectors on"
        )
    epochs = math.ceil(training.words / len(words))
    vectors = skipgram.train(
        words,
        starts,
        counts,
        dimensions=training.dimensions,
        epochs=min(MOST_EPOCHS, max(LEAST_EPOCHS, epochs)),
        window=training.window,
        negatives=training.negatives,
        subsample=training.subsample,
        rate=training.rate,
        seed=training.seed,
        report=None if report is None else lambda done, total: report(TRAINING, done, total),
    )
    _save(folder, tokenizer, pooled(vectors, words, starts, counts, training.smoothing), training)
    return folder


def pooled(
    vectors: Floats, words: NDArray[np.int32], starts: Ints, counts: Ints, smoothing: float
) -> Floats:
    """Vectors float32[v, d] whose means are SIF's vectors of texts, up to length.

    Word 0, the unknown ones, gets the mean of the rarer half of the words.
    """
    share = counts / max(1, int(counts.sum()))
    vectors = vectors.copy()
    vectors[0] = vectors[1 + (len(vectors) - 1) // 2 :].mean(axis=0)
    weighted = vectors * (smoothing / (smoothing + share)).astype(np.float32)[:, None]
    filled = np.flatnonzero(np.diff(starts))
    some = filled[np.linspace(0, len(filled) - 1, min(_POOLED, len(filled))).astype(np.int64)]
    products = np.zeros((vectors.shape[1],) * 2)
    for first in range(0, len(some), _POOLED_AT_ONCE):
        texts = [words[starts[i] : starts[i + 1]] for i in some[first : first + _POOLED_AT_ONCE]]
        ends = np.cumsum([0, *map(len, texts)])
        sums = np.add.reduceat(weighted[np.concatenate(texts)], ends[:-1], axis=0)
        sums = sums.astype(np.float64) / np.linalg.norm(sums, axis=1, keepdims=True)
        products += sums.T @ sums
    common = np.linalg.eigh(products)[1][:, -1]
    return np.asarray(weighted - np.outer(weighted @ common, common), np.float32)


def _drawn(sources: Sequence[Path], training: Training) -> Ints:
    """Numbers, over all sources, of the rows to train on, ascending."""
    try:
        total = sum(pq.read_metadata(path).num_rows for path in sources)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"the texts cannot be read: {error}") from error
    if total <= training.documents:
        return np.arange(total)
    random = np.random.default_rng(training.seed)
    return np.sort(random.choice(total, training.documents, replace=False, shuffle=False))


def _texts(sources: Sequence[Path], text_of: Texts, rows: Ints) -> Iterator[list[str]]:
    """The texts of those rows, in lists of up to _BATCH."""
    first = 0
    for path in sources:
        with streamed(path) as file:
            for batch in file.iter_batches(_BATCH):
                low, high = np.searchsorted(rows, (first, first + batch.num_rows))
                if high > low:
                    taken = pa.Table.from_batches([batch]).take(rows[low:high] - first)
                    yield text_of(taken)
                first += batch.num_rows


def _tokenizer(texts: Iterator[list[str]], training: Training) -> Any:
    """A tokenizer into words of lower case without accents; word 0 stands for unknown ones."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            # A text without a word would have no vector: let it have an unknown word.
            normalizers.Replace(Regex(r"\A[^\p{L}\p{N}]*\z"), "0nothing0"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\p{L}[\p{L}\p{N}]*|\p{N}+"), behavior="removed", invert=True
    )
    trainer = trainers.WordLevelTrainer(
        vocab_size=training.vocabulary + 1,
        min_frequency=training.least_count,
        special_tokens=[UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _numbered(
    tokenizer: Any, texts: Iterator[list[str]], rows: int, report: Report | None
) -> tuple[NDArray[np.int32], Ints]:
    """All words int32[n] by number, and int64[m + 1] where each text begins."""
    words, lengths = [], [0]
    for batch in texts:
        for encoded in tokenizer.encode_batch(batch, add_special_tokens=False):
            words.append(np.array(encoded.ids, np.int32))
            lengths.append(len(encoded.ids))
        if report is not None:
            report(READING, len(words), rows)
    joined = np.concatenate(words) if words else np.empty(0, np.int32)
    return joined, np.cumsum(lengths, dtype=np.int64)


def _save(folder: Path, tokenizer: Any, vectors: Floats, training: Training) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    partial = folder.with_name(f"{folder.name}.partial")
    table = StaticEmbedding(tokenizer, embedding_weights=vectors)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        model = SentenceTransformer(modules=[table, Normalize()], device="cpu")
        model.save(str(partial), create_model_card=False)
        told = json.dumps(asdict(training), indent=2) + "\n"
        (partial / ABOUT).write_text(told, encoding="utf-8")
        os.replace(partial, folder)
    except OSError as error:
        raise StorageError(f"cannot write the word vectors {folder}: {error}") from error


def _check_folder(folder: Path, training: Training) -> None:
    try:
        told = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} exists and holds no word vectors of this kind") from error
    differ = [key for key, value in asdict(training).items() if told.get(key) != value]
    if differ:
        raise InputError(
            f"{folder} holds word vectors of another {', '.join(differ)}: choose another folder"
        )
