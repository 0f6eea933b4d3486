"""From arXiv's metadata to a data set: what it holds, and that a killed run changes nothing."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fanns.datasets import arxiv_pipeline, arxiv_sources, data_card, dataset
from fanns.datasets.arxiv_attributes import ATTRIBUTES, THE_ELEVEN
from fanns.datasets.arxiv_pipeline import WORK, Settings
from fanns.datasets.arxiv_synthetic import Simulated, Synthetic, Twin
from fanns.datasets.vector_makers import Encoded
from fanns.errors import InputError, StorageError
from tests.arxiv_files import json_line, snapshot_record, tree, write_lines, write_snapshot
from tests.encoder_models import FakeEncoder
from tests.oai_server import raw_record, serving

pytest.importorskip("pylatexenc")
ROWS = 150


class Killed(BaseException):
    """As sudden as a signal, as far as the code under test can tell."""


def plain_card(folder: Path, *, notes: list[str], omitted: dict[str, str], **_: Any) -> Path:
    """A card that draws nothing: figures take seconds, and have tests of their own."""
    path = folder / data_card.CARD
    path.write_text("\n".join([*notes, *omitted]), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def no_figures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_card, "write_card", plain_card)
        yield


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 records, two of them broken, one twice."""
    lines = [json_line(snapshot_record(n)) for n in range(ROWS)]
    lines.insert(40, b'{"id": "0704.0001", "title": "cut o\n')
    lines.insert(60, lines[3])
    return write_lines(tmp_path_factory.mktemp("source") / "snapshot.json", lines)


def settings(source: Path | str, output: Path, **given: Any) -> Settings:
    given = {"queries": 20, "shard_rows": 48, "depth": 10, **given}
    sources = arxiv_sources.find([str(source)], output / WORK, pause=0.0)
    return Settings(tuple(sources), output, **given)


def make(asked: Settings, encoder: FakeEncoder | None = None) -> list[str]:
    """Runs it; what it said."""
    said: list[str] = []
    arxiv_pipeline.make(asked, Encoded(encoder or FakeEncoder()), said.append)
    return said


def texts_of(items: pa.Table) -> list[str]:
    """What is embedded of papers."""
    return [f"{row['title']}. {row['abstract']}" for row in items.to_pylist()]


@pytest.fixture(scope="module")
def whole(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run gives that nothing disturbs, with the original layout."""
    output = tmp_path_factory.mktemp("whole") / "out"
    make(settings(snapshot, output, layouts=("arxiv-for-fanns",)))
    return output


def test_a_whole_run(whole: Path) -> None:
    assert dataset.verify(whole) == []
    assert not (whole / WORK).exists()
    found = dataset.read(whole)
    assert found.model == "fake" and found.seed == 0 and found.metric == "cosine"
    items, queries, truth = found.items, found.queries, found.truth
    assert queries is not None and truth is not None
    assert items.num_rows == ROWS - 20
    assert items.column_names == [*ATTRIBUTES.names, "embedding"]
    assert set(THE_ELEVEN) <= set(items.column_names)
    assert items.schema.metadata[b"fanns.model"] == b"fake"
    skipped = [json.loads(line) for line in (whole / "skipped.jsonl").read_text().splitlines()]
    assert [(one["source"], one["line"]) for one in skipped] == [
        ("snapshot.json", 41),
        ("snapshot.json", 61),
    ]
    assert "no JSON" in skipped[0]["reason"] and "came before" in skipped[1]["reason"]
    assert "1 skipped, no JSON: snapshot.json line 41" in (whole / "card.md").read_text()

    names = set(items["id"].to_pylist())
    papers = {snapshot_record(n)["id"] for n in range(ROWS)}
    held = set(queries["paper"].to_pylist())
    assert len(held) == 20 and held == papers - names  # no query is made of an item
    assert queries["set"].to_pylist() == [s for s in ("none", "em", "r", "emis") for _ in range(20)]

    words = FakeEncoder()
    np.testing.assert_array_equal(found.vectors(), words.documents(texts_of(items)))
    asked = words.queries(queries["text"].to_pylist())
    np.testing.assert_array_equal(found.vectors("queries"), asked)


def test_the_answers_are_those_of_numpy(whole: Path) -> None:
    found = dataset.read(whole)
    queries, truth = found.queries, found.truth
    assert queries is not None and truth is not None
    rows = found.items.to_pylist()
    keys = [row["id"] for row in rows]
    passes: dict[str, Callable[[dict[str, Any], dict[str, Any]], bool]] = {
        "none": lambda row, p: True,
        "em": lambda row, p: row["number_of_sub_categories"] == p["label"],
        "r": lambda row, p: p["range_start"] <= row["update_date"] <= p["range_end"],
        "emis": lambda row, p: p["label"] in row["main_categories"],
    }
    vectors = found.vectors().astype(np.float64)
    answers: dict[int, list[str]] = {}
    for one in truth.to_pylist():
        answers.setdefault(one["query"], []).append(one["id"])
    for number, query in enumerate(queries.to_pylist()):
        params = json.loads(query["params"])
        mask = np.array([passes[query["set"]](row, params) for row in rows])
        assert mask.sum() == query["matches"]
        distances = 1.0 - vectors @ np.array(query["embedding"], np.float64)
        order = sorted(np.flatnonzero(mask), key=lambda row: (distances[row], keys[row]))[:10]
        assert answers.get(number, []) == [keys[row] for row in order]


def test_killed_at_every_step_and_gone_on_with(
    snapshot: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run k is killed when it puts its k-th file in place, before it is there or after."""
    asked = settings(snapshot, tmp_path / "out", layouts=("arxiv-for-fanns",))
    real, encoder = os.replace, FakeEncoder()
    left = 0

    def killing(source: Any, target: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and kills % 2:
            raise Killed
        real(source, target)
        if left == 0:
            raise Killed

    monkeypatch.setattr(os, "replace", killing)
    kills = 0
    while True:
        left = kills + 1
        try:
            make(asked, encoder)
            break
        except Killed:
            kills += 1
            for path in (asked.output / WORK).rglob("*.parquet"):  # what a signal would leave
                path.with_name(f"{path.name}.partial").write_bytes(b"half")
    assert kills > 10
    assert tree(asked.output) == tree(whole)
    texts = texts_of(dataset.read(whole).items)
    assert sorted(text for text in encoder.seen if text in texts) == sorted(texts)  # none twice


@pytest.mark.parametrize("stage", ["records", "attributes", "asked", "queries", "items"])
def test_a_full_disk(
    stage: str, snapshot: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(snapshot, tmp_path / "out", layouts=("arxiv-for-fanns",))
    real = pq.write_table

    def full(table: Any, path: Any, **options: Any) -> None:
        real(table, path, **options)
        if stage in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_writer(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        if stage == "items":
            patch.setattr(pq, "ParquetWriter", no_writer)
        with pytest.raises(StorageError, match="No space left on device"):
            make(asked)
    assert not (asked.output / "manifest.json").exists()
    make(asked)
    assert tree(asked.output) == tree(whole)


def test_other_settings_do_not_go_on_with_it(snapshot: Path, tmp_path: Path) -> None:
    asked = settings(snapshot, tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_card, "write_card", None)
        with pytest.raises(TypeError):
            make(asked)
    with pytest.raises(InputError, match="seed was 0, is 1"):
        make(replace(asked, seed=1))
    with pytest.raises(InputError, match="model was"):
        make(asked, FakeEncoder(4))
    copy = tmp_path / "snapshot.json"
    copy.write_bytes(snapshot.read_bytes() + json_line(snapshot_record(999)))
    with pytest.raises(InputError, match="sources was"):
        make(settings(copy, tmp_path / "out"))
    make(replace(asked, strict=False))
    with pytest.raises(InputError, match="holds a data set"):
        make(asked)
    before = tree(asked.output)
    make(replace(asked, overwrite=True))
    assert tree(asked.output) == before
    make(replace(asked, overwrite=True, seed=1))
    assert tree(asked.output) != before


def test_overwriting_leaves_nothing_of_before(snapshot: Path, whole: Path, tmp_path: Path) -> None:
    first = settings(snapshot, tmp_path / "out", layouts=("arxiv-for-fanns",), seed=5)
    make(first)
    make(settings(snapshot, tmp_path / "out", overwrite=True))
    left = {name: v for name, v in tree(whole).items() if not name.startswith("arxiv-for-fanns")}
    assert tree(first.output) == left


def test_two_runs_at_once(snapshot: Path, tmp_path: Path) -> None:
    asked = settings(snapshot, tmp_path / "out")

    class Impatient(FakeEncoder):
        def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
            with pytest.raises(InputError, match="another run is under way"):
                make(asked)
            return super().queries(texts)

    make(asked, Impatient())
    assert dataset.verify(asked.output) == []
    assert not list(asked.output.glob("work*"))


def test_outputs_that_are_taken(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        make(settings(snapshot, tmp_path / "file"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"other files, thesis\.tex"):
        make(settings(snapshot, tmp_path / "other", overwrite=True))


def test_strict_stops_at_the_first_broken_record(snapshot: Path, tmp_path: Path) -> None:
    asked = settings(snapshot, tmp_path / "out", strict=True)
    with pytest.raises(InputError, match=r"snapshot\.json, line 41: no JSON"):
        make(asked)
    make(replace(asked, strict=False, layouts=()))  # goes on, and skips it


@pytest.mark.parametrize(("limit", "queries"), [(60, None), (60, 7), (None, None), (1000, None)])
def test_limits(limit: int | None, queries: int | None, snapshot: Path, tmp_path: Path) -> None:
    asked = settings(snapshot, tmp_path / "out", limit=limit, queries=queries)
    make(asked)
    found = dataset.read(asked.output)
    assert found.queries is not None
    count = len(set(found.queries["text"].to_pylist()))
    rows = ROWS if limit in (None, 1000) else 60
    assert count == queries if queries else 1 <= count <= rows // 10
    assert found.items.num_rows == (60 if limit == 60 else ROWS - count)


def test_a_sample_is_the_same_in_any_order(snapshot: Path, tmp_path: Path) -> None:
    asked = settings(snapshot, tmp_path / "a", sample=0.3)
    make(asked)
    lines = snapshot.read_bytes().splitlines(keepends=True)
    other = write_lines(tmp_path / "snapshot.json", reversed(lines))
    make(settings(other, tmp_path / "b", sample=0.3))

    def papers(folder: Path) -> set[str]:
        found = dataset.read(folder)
        assert found.queries is not None
        return {*found.items["id"].to_pylist(), *found.queries["paper"].to_pylist()}

    assert papers(tmp_path / "a") == papers(tmp_path / "b")
    assert 0.15 * ROWS < len(papers(tmp_path / "a")) < 0.45 * ROWS


def test_queries_of_a_file(snapshot: Path, tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("quantum graphs\n\nneural proof search\n", encoding="utf-8")
    make(settings(snapshot, tmp_path / "out", query_file=file, queries=None))
    found = dataset.read(tmp_path / "out")
    assert found.queries is not None
    assert found.queries["text"].to_pylist() == ["quantum graphs", "neural proof search"] * 4
    assert found.items.num_rows == ROWS  # nothing was held out

    ids = found.items["id"].to_pylist()[:2]
    table = pa.table({"text": ["one", "two"], "id": ids, "where": ["x", "y"]})
    pq.write_table(table, tmp_path / "queries.parquet")
    asked = settings(
        snapshot, tmp_path / "second", query_file=tmp_path / "queries.parquet", queries=None
    )
    assert "2 passed over, asked as queries" in make(asked)
    assert not set(ids) & set(dataset.read(tmp_path / "second").items["id"].to_pylist())


def test_texts_to_embed(snapshot: Path, tmp_path: Path) -> None:
    make(settings(snapshot, tmp_path / "out", text="abstract"))
    found = dataset.read(tmp_path / "out")
    expected = FakeEncoder().documents(found.items["abstract"].to_pylist())
    np.testing.assert_array_equal(found.vectors(), expected)


def test_several_sources_and_a_harvest(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "a.json", 40)
    records = [raw_record(snapshot_record(n)) for n in range(100, 130)]
    with serving(records, 10) as server:
        sources = arxiv_sources.find(
            [str(tmp_path / "a.json"), server.url], tmp_path / "out" / WORK, 0.0
        )
        asked = Settings(tuple(sources), tmp_path / "out", queries=5, depth=5, shard_rows=16)
        make(asked)
        assert len(server.requests) == 3
    found = dataset.read(tmp_path / "out")
    assert found.items.num_rows == 65
    assert found.source == f"arXiv metadata: a.json, {server.url}"


def test_a_limit_asks_for_no_more_pages_than_it_needs(tmp_path: Path) -> None:
    records = [raw_record(snapshot_record(n)) for n in range(60)]
    with serving(records, 10) as server:
        make(settings(server.url, tmp_path / "out", limit=15, queries=5))
        assert len(server.requests) == 2


def test_the_synthetic_twin(tmp_path: Path) -> None:
    twin = Twin(300, 32, seed=7)
    asked = Settings(
        (Synthetic(twin),), tmp_path / "out", seed=7, queries=10, depth=5, shard_rows=128
    )
    arxiv_pipeline.make(asked, Simulated(twin), lambda _: None)
    found = dataset.read(asked.output)
    assert found.items.num_rows == 300 and found.vectors().shape == (300, 32)
    assert found.items.schema.metadata[b"fanns.vectors"] == b"simulated"
    assert found.queries is not None and found.queries.num_rows == 40
    np.testing.assert_allclose(np.linalg.norm(found.vectors(), axis=1), 1.0, atol=1e-5)
    from fanns.datasets import arxiv_like

    made = arxiv_like.items(300, 32, 7)
    assert found.items["id"].to_pylist() == made["id"].to_pylist()
    np.testing.assert_array_equal(found.vectors(), dataset.vectors(made))


def test_nothing_to_read(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.json", [b"{}\n", b"[\n"])
    with pytest.raises(InputError, match=r"no record .* a\.json, line 1: id and title"):
        make(settings(file, tmp_path / "out"))
    write_snapshot(tmp_path / "a.json", 3)
    with pytest.raises(InputError, match="cannot be held out"):
        make(settings(tmp_path / "a.json", tmp_path / "b", queries=3))
