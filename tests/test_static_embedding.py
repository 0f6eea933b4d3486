"""Word vectors trained on texts: what they learn, SIF against its definition, the same bytes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.datasets import skipgram
from fanns.datasets.encoders import load
from fanns.datasets.static_embedding import Training, pooled, train
from fanns.errors import InputError, StorageError

SMALL = Training(dimensions=16, words=30_000, least_count=2, subsample=1e-2)


def topics(rows: int, seed: int = 0) -> tuple[list[str], Any]:
    """Texts of 20 words: half of the text's topic (of 3, 20 words each), half common to all."""
    random = np.random.default_rng(seed)
    names = random.integers(0, 3, rows)
    texts = []
    for topic in names:
        own = [f"topic{topic}x{random.integers(20)}" for _ in range(10)]
        common = [f"common{random.integers(5)}" for _ in range(10)]
        texts.append(" ".join(random.permutation([*own, *common])))
    return texts, names


def texts_of(table: pa.Table) -> list[str]:
    return [str(text) for text in table["text"].to_pylist()]


def write_shards(folder: Path, texts: list[str], shards: int = 2) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.parquet" for number in range(shards)]
    for number, path in enumerate(paths):
        pq.write_table(pa.table({"text": pa.array(texts[number::shards], "string")}), path)
    return paths


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def corpus(rows: int) -> tuple[Any, Any, Any]:
    """The topics' texts as numbers: words int32, starts int64, counts int64."""
    texts = [text.split() for text in topics(rows)[0]]
    names = sorted({word for text in texts for word in text})
    numbers = {word: number for number, word in enumerate(names)}
    words = np.array([numbers[word] for text in texts for word in text], np.int32)
    starts = np.arange(0, len(words) + 1, 20)
    return words, starts, np.bincount(words)


def test_words_of_a_topic_lie_together() -> None:
    words, starts, counts = corpus(1500)
    options: dict[str, Any] = {"dimensions": 16, "epochs": 4, "subsample": 1e-2}
    vectors = skipgram.train(words, starts, counts, **options)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = np.argsort(-unit[5:] @ unit[5:].T, axis=1)[:, 1:10]  # the first 5 are common
    assert (near // 20 == np.arange(60)[:, None] // 20).mean() > 0.95
    assert (skipgram.train(words, starts, counts, **options) == vectors).all()
    assert (skipgram.train(words, starts, counts, seed=1, **options) != vectors).any()


def test_frequent_words_are_left_out_and_noise_follows_frequency() -> None:
    counts = np.array([1_000_000, 1_000, 1])
    keep = skipgram._keeping(counts, 1e-4)
    t = 1e-4 * counts.sum() / counts
    np.testing.assert_allclose(keep, np.minimum(1, np.sqrt(t) + t), rtol=1e-6)
    drawn = np.bincount(skipgram._noise(counts), minlength=3) / skipgram.NOISE_TABLE
    np.testing.assert_allclose(drawn, counts**0.75 / (counts**0.75).sum(), atol=1e-5)


def test_pooling_is_sif() -> None:
    words, starts, _ = corpus(300)
    words = words + np.int32(1)
    counts = np.bincount(words)
    random = np.random.default_rng(0)
    vectors = random.standard_normal((len(counts), 8)).astype(np.float32)
    made = pooled(vectors, words, starts, counts, 1e-2)

    weights = 1e-2 / (1e-2 + counts / counts.sum())
    rows = [words[a:b] for a, b in pairwise(starts)]
    texts = np.stack([(weights[row, None] * vectors[row]).mean(axis=0) for row in rows])
    common = np.linalg.svd(texts / np.linalg.norm(texts, axis=1, keepdims=True))[2][0]
    expected = texts - np.outer(texts @ common, common)
    found = np.stack([made[row].mean(axis=0) for row in rows])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    pytest.importorskip("sentence_transformers")
    folder = tmp_path_factory.mktemp("static")
    sources = write_shards(folder / "in", topics(600)[0])
    return sources, train(sources, texts_of, folder / "model", SMALL)


def test_texts_of_a_topic_lie_together(trained: tuple[list[Path], Path]) -> None:
    encoder = load(str(trained[1]), called="static")
    texts, names = topics(200, seed=9)
    made = encoder.documents(texts)
    assert made.shape == (200, 16) and encoder.name.startswith("static?weights=")
    near = np.argsort(-made @ made.T, axis=1)[:, 1:11]
    assert (names[near] == names[:, None]).mean() > 0.95
    assert (
        encoder.queries(["Tópic1x3, TOPIC1X4!"]) == encoder.queries(["topic1x3 topic1x4"])
    ).all()


def test_every_text_has_a_vector(trained: tuple[list[Path], Path]) -> None:
    encoder = load(str(trained[1]))
    made = encoder.documents(["", " ... ", "unheard of", "topic1x1"])
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(made[:2], made[[2, 2]], atol=1e-6)


def test_the_same_texts_give_the_same_bytes(
    trained: tuple[list[Path], Path], tmp_path: Path
) -> None:
    sources, model = trained
    told: list[tuple[str, int, int]] = []
    (tmp_path / "again.partial").mkdir()  # of a run that was killed
    again = train(
        sources, texts_of, tmp_path / "again", SMALL, report=lambda *step: told.append(step)
    )
    assert contents(again) == contents(model)
    assert ("words", 600, 600) in told and told[-1][0] == "word vectors"
    assert told[-1][1] == told[-1][2]
    assert [path.name for path in tmp_path.iterdir()] == ["again"]
    before = contents(again)
    train([], texts_of, again, SMALL)  # it is there
    assert contents(again) == before


def test_a_sample_of_the_texts(trained: tuple[list[Path], Path], tmp_path: Path) -> None:
    from dataclasses import replace

    fewer = replace(SMALL, documents=150)
    told: list[tuple[str, int, int]] = []
    model = train(
        trained[0], texts_of, tmp_path / "a", fewer, report=lambda *step: told.append(step)
    )
    assert ("words", 150, 150) in told
    assert contents(model) != contents(trained[1])


def test_refusals(trained: tuple[list[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no word occurs 2 times in the 3 texts"):
        train(write_shards(tmp_path / "in", ["one", "", "two"]), texts_of, tmp_path / "a", SMALL)
    with pytest.raises(InputError, match="no word occurs"):
        train(write_shards(tmp_path / "in", []), texts_of, tmp_path / "a", SMALL)
    with pytest.raises(InputError, match=r"word vectors of another dimensions, .*documents"):
        train(trained[0], texts_of, trained[1], Training(dimensions=8, documents=5))
    with pytest.raises(InputError, match="holds no word vectors of this kind"):
        train(trained[0], texts_of, tmp_path, SMALL)
    with pytest.raises(StorageError, match="cannot be read"):
        train([tmp_path / "nothing"], texts_of, tmp_path / "a", SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the word vectors"):
        train(trained[0], texts_of, tmp_path / "file" / "model", SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "in"]


def test_no_words_at_all_before_training() -> None:
    with pytest.raises(InputError, match="trained on a data set's texts: give the folder"):
        load("static")
