"""Whole data sets in foreign formats, made and read back by h5py, numpy, scipy and json alone."""

import csv
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from fanns.bench.cli_formats import export, import_
from fanns.bench.formats import arxiv_fanns, bigann, exchange, spmat
from fanns.bench.formats.cells import file_name
from fanns.bench.formats.hostile import FormatError
from fanns.bench.workloads import workload as workloads
from fanns.errors import FannsError
from tests import bench_run_data

N, M, D, K = 240, 12, 6, 5
ARCHIVES = ["cs", "math", "hep-th", "gr-qc"]
Array = NDArray[Any]


def ranked(vectors: Array, query: Array, passing: Array, k: int) -> list[int]:
    """The nearest passing rows, plainly."""
    squares = ((vectors.astype(float) - query.astype(float)) ** 2).sum(axis=1)
    rows = np.flatnonzero(passing)
    return [int(row) for row in rows[np.lexsort((rows, squares[rows]))][:k]]


def run(command: Any, *arguments: Any) -> str:
    done = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def answers(loaded: workloads.Workload, cell: str) -> list[list[int]]:
    (found,) = [one for one in loaded.cells if one.name == cell]
    numbers = np.sort(np.concatenate([found.measure, found.tune]))
    ends = loaded.truth_offsets
    return [loaded.truth_rows[ends[i] : ends[i + 1]].tolist() for i in numbers]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


# ann-benchmarks


def hdf5(path: Path, rng: np.random.Generator, distance: str = "euclidean", **other: Any) -> Any:
    """A file as ann-benchmarks writes it; `other` replaces arrays."""
    h5py = pytest.importorskip("h5py")
    train, test = rng.normal(size=(N, D)), rng.normal(size=(M, D))
    if distance == "angular":
        train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    train, test = train.astype("f"), test.astype("f")
    rows = np.array([ranked(train, q, np.ones(N, bool), K) for q in test], "i")
    lengths = np.sqrt(((train[rows] - test[:, None]) ** 2).sum(axis=2))
    made = {"train": train, "test": test, "neighbors": rows, "distances": lengths, **other}
    with h5py.File(path, "w") as file:
        file.attrs["distance"], file.attrs["point_type"] = distance, "float"
        for name, values in made.items():
            file[name] = values
    return made


@pytest.mark.parametrize("distance", ["euclidean", "angular"])
def test_annbench_there_and_back(tmp_path: Path, rng: np.random.Generator, distance: str) -> None:
    h5py = pytest.importorskip("h5py")
    made = hdf5(tmp_path / "a.hdf5", rng, distance)
    run(import_, "annbench", tmp_path / "a.hdf5", "-o", tmp_path / "w", "--depth", K)
    loaded = workloads.load(tmp_path / "w")
    assert loaded.metric == {"euclidean": "l2", "angular": "cosine"}[distance]
    np.testing.assert_allclose(loaded.vectors, made["train"], rtol=1e-6)
    assert answers(loaded, "all") == made["neighbors"].tolist()
    assert len(loaded.cells[0].tune) == 2 and loaded.cells[0].selectivity == 1.0
    run(export, "annbench", tmp_path / "w", "-o", tmp_path / "back")
    with h5py.File(tmp_path / "back" / "w-all.hdf5") as file:
        np.testing.assert_allclose(file["train"][:], made["train"], rtol=1e-6)
        np.testing.assert_array_equal(file["neighbors"][:], made["neighbors"])
        wanted = made["distances"] if distance == "euclidean" else made["distances"] ** 2 / 2
        np.testing.assert_allclose(file["distances"][:], wanted, atol=1e-6)
        assert (file.attrs["distance"], file.attrs["dimension"]) == (distance, D)
        assert file["neighbors"].dtype == np.int32 and file["train"].dtype == np.float32


def test_annbench_maps_contiguous_and_reads_compressed(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    h5py = pytest.importorskip("h5py")
    from fanns.bench.formats import annbench

    made = hdf5(tmp_path / "a.hdf5", rng)
    assert isinstance(annbench.read(tmp_path / "a.hdf5").vectors, np.memmap)
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file.attrs["distance"] = b"euclidean"
        file.create_dataset("train", data=made["train"], compression="gzip")
        file.create_dataset("test", data=made["test"], chunks=(5, 4))
    found = annbench.read(tmp_path / "b.hdf5")
    np.testing.assert_array_equal(found.vectors, made["train"])
    np.testing.assert_array_equal(found.sets[0].vectors, made["test"])
    assert found.sets[0].file is None


def test_hostile_annbench(tmp_path: Path, rng: np.random.Generator) -> None:
    h5py = pytest.importorskip("h5py")
    from fanns.bench.formats import annbench

    def refused(message: str, change: Any = None) -> None:
        path = tmp_path / "a.hdf5"
        hdf5(path, np.random.default_rng(1))
        if change is not None:
            with h5py.File(path, "a") as file:
                change(file)
        with pytest.raises(FormatError, match=message):
            annbench.read(path)

    def replace(name: str, **options: Any) -> Any:
        def change(file: Any) -> None:
            del file[name]
            if options:
                file.create_dataset(name, **options)

        return change

    def external(file: Any) -> None:
        del file["train"]
        file["train"] = h5py.ExternalLink("/etc/passwd", "/train")

    def hamming(file: Any) -> None:
        file.attrs["distance"] = "hamming"

    def bits(file: Any) -> None:
        file.attrs["point_type"] = "bit"

    outside = [(str(tmp_path / "raw"), 0, 8)]
    refused("its distance is 'hamming'; expected one of euclidean", hamming)
    refused("its points are 'bit'", bits)
    refused("'train' is missing, or a link", external)
    refused("'test' is missing", replace("test"))
    refused("two dimensions", replace("train", data=np.zeros(3)))
    refused("expected numbers", replace("train", data=np.zeros((2, 2), "S3")))
    refused("8 bytes for its shape|stored", replace("train", shape=(10**9, 10**3), dtype="f"))
    refused("stored", replace("train", shape=(10**9, 9), dtype="f", chunks=(9, 9)))
    refused("other files", replace("train", shape=(1, 1), dtype="f8", external=outside))
    refused("without a column", replace("train", shape=(10**12, 0), dtype="f"))
    path = tmp_path / "b.hdf5"
    hdf5(path, rng)
    raw = path.read_bytes()
    for kept in (0, 10, 600, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:kept])
        with pytest.raises(FormatError, match="HDF5"):
            annbench.read(path)


# big-ann


def bigann_folder(folder: Path, rng: np.random.Generator, form: str = "nearest") -> dict[str, Any]:
    """A small filter track: u8 vectors, tags, answers in one of the two forms."""
    sparse = pytest.importorskip("scipy.sparse")
    folder.mkdir()
    base = rng.integers(0, 256, (N, D), dtype=np.uint8)
    query = rng.integers(0, 256, (M, D), dtype=np.uint8)
    tags = sparse.random(N, 9, density=0.3, format="csr", dtype="f", rng=rng)
    dense = np.eye(9, dtype="f")[rng.integers(0, 9, M)]
    dense[0] = 1  # nothing has all tags
    wanted = sparse.csr_matrix(dense)
    for name, array in (("base.240.u8bin", base), ("query.public.12.u8bin", query)):
        with (folder / name).open("wb") as file:
            np.array(array.shape, "u4").tofile(file)
            array.tofile(file)
    for name, matrix in (("base.metadata.spmat", tags), ("query.metadata.spmat", wanted)):
        with (folder / name).open("wb") as file:
            np.array([*matrix.shape, matrix.nnz], "i8").tofile(file)
            matrix.indptr.astype("i8").tofile(file)
            matrix.indices.astype("i4").tofile(file)
            np.ones(matrix.nnz, "f").tofile(file)
    has, asked = tags.toarray() > 0, wanted.toarray() > 0
    passing = [(has | ~one).all(axis=1) for one in asked]
    near = [ranked(base, q, mask, K) for q, mask in zip(query, passing, strict=True)]
    with (folder / "GT.public.ibin").open("wb") as file:
        if form == "nearest":
            np.array([M, K], "u4").tofile(file)
            np.array([row + [-1] * (K - len(row)) for row in near], "i4").tofile(file)
            np.zeros((M, K), "f").tofile(file)
        else:
            cut = [row[: 1 + i % 3] for i, row in enumerate(near)]
            np.array([M, sum(map(len, cut))], "i4").tofile(file)
            np.array([len(row) for row in cut], "i4").tofile(file)
            np.array([one for row in cut for one in row], "i4").tofile(file)
            np.zeros(sum(map(len, cut)), "f").tofile(file)
    return {"base": base, "query": query, "near": near, "tags": tags, "wanted": wanted}


@pytest.mark.parametrize("form", ["nearest", "range"])
def test_bigann_there_and_back(tmp_path: Path, rng: np.random.Generator, form: str) -> None:
    made = bigann_folder(tmp_path / "yfcc", rng, form)
    run(import_, "bigann", tmp_path / "yfcc", "-o", tmp_path / "w", "--depth", K)
    loaded = workloads.load(tmp_path / "w")
    np.testing.assert_array_equal(loaded.vectors, made["base"])
    assert answers(loaded, "tags") == made["near"]
    assert loaded.cells[0].where == bigann.WHERE and loaded.matches[0] == 0
    assert loaded.params[0] == {"tags": list(range(9))}
    run(export, "bigann", tmp_path / "w", "-o", tmp_path / "back")
    back = tmp_path / "back"
    for name, array in (("base.u8bin", "base"), ("query.tags.u8bin", "query")):
        assert np.fromfile(back / name, "u4", 2).tolist() == list(made[array].shape)
        np.testing.assert_array_equal(
            np.fromfile(back / name, "u1", offset=8).reshape(-1, D), made[array]
        )
    for name, matrix in (("base.metadata.tags", "tags"), ("query.metadata.tags", "wanted")):
        raw = np.fromfile(back / f"{name}.spmat", "i8", 3 + len(made[matrix].indptr))
        assert raw[2] == made[matrix].nnz
        np.testing.assert_array_equal(raw[3:], made[matrix].indptr)
    m, k = np.fromfile(back / "GT.tags.ibin", "u4", 2).tolist()
    ids = np.fromfile(back / "GT.tags.ibin", "i4", m * k, offset=8).reshape(m, k)
    assert [row[row >= 0].tolist() for row in ids] == made["near"]
    squares = np.fromfile(back / "GT.tags.ibin", "f4", offset=8 + 4 * m * k).reshape(m, k)
    difference = made["base"][ids[1, 0]].astype(float) - made["query"][1]
    assert squares[1, 0] == pytest.approx((difference**2).sum())


def test_bigann_without_tags_and_with_named_files(tmp_path: Path, rng: np.random.Generator) -> None:
    made = bigann_folder(tmp_path / "a", rng)
    for name in ("base.metadata.spmat", "query.metadata.spmat", "GT.public.ibin"):
        (tmp_path / "a" / name).unlink()
    other = tmp_path / "a" / "query.private.u8bin"
    other.write_bytes((tmp_path / "a" / "query.public.12.u8bin").read_bytes())
    with pytest.raises(FormatError, match=r"which one\? query.private.u8bin, .*--query$"):
        bigann.read(tmp_path / "a")
    run(import_, "bigann", tmp_path / "a", "--query", other, "-o", tmp_path / "w", "--queries", 4)
    loaded = workloads.load(tmp_path / "w")
    assert loaded.attributes.num_columns == 0 and len(loaded.queries) == 4
    np.testing.assert_array_equal(loaded.queries, made["query"][:4])
    with pytest.raises(FormatError, match="no file named base"):
        bigann.read(tmp_path)


def test_answers_that_are_wrong_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    bigann_folder(tmp_path / "a", rng)
    path = tmp_path / "a" / "GT.public.ibin"
    raw = path.read_bytes()

    def refused(message: str, ids: Array) -> None:
        path.write_bytes(raw[:8] + ids.astype("i4").tobytes() + raw[8 + ids.nbytes :])
        with pytest.raises(FormatError, match=message):
            exchange.write(bigann.read(tmp_path / "a"), tmp_path / "w", depth=K)

    ids = np.frombuffer(raw, "i4", M * K, 8).reshape(M, K)
    refused("does not pass 'list_has_all", np.where(ids >= 0, (ids + 1) % N, ids))
    refused("holds a row twice", np.where(ids >= 0, ids[:, :1], ids))
    refused("row 5,000 in an answer; there are 240", np.where(ids >= 0, 5000, ids))
    last = (np.arange(M)[:, None] == 1) & (np.arange(K) == K - 1)
    refused("query 1 has 4 rows, expected 5", np.where(last, -1, ids))
    foreign = bigann.read(tmp_path / "a")
    exchange.write(foreign, tmp_path / "w", depth=K, compare=False)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="under metric 'ip'"):
        exchange.write(bigann.read(tmp_path / "a", "ip"), tmp_path / "w", depth=K)


# arxiv-for-fanns


def arxiv_folder(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """The layout, with the rows of answers as long as they are, some padded with -1."""
    folder.mkdir()
    vectors, asked = rng.normal(size=(N, D)).astype("f"), rng.normal(size=(M, D)).astype("f")
    for name, array in (("database_vectors", vectors), ("query_vectors", asked)):
        lengths = np.full((len(array), 1), D, "i4").view("f4")
        np.hstack([lengths, array]).tofile(folder / f"{name}.fvecs")
    rows: list[dict[str, Any]] = []
    for _ in range(N):
        main = [ARCHIVES[i] for i in np.flatnonzero(rng.random(4) < [0.5, 0.3, 0.2, 0.02])]
        subs = [f"{one}.{x}" for one in main for x in "AB"[: 1 + int(rng.integers(2))]]
        row = {
            "submitter": "Ada Müller",
            "has_comments": bool(rng.random() < 0.74),
            "main_categories": main,
            "sub_categories": subs,
            "number_of_main_categories": len(main),
            "number_of_sub_categories": len(subs),
            "license": None,
            "number_of_versions": 1,
            "update_date": int(rng.integers(13655, 20217)),
            "authors": ["Ada Müller", "Emmy N."],
            "number_of_authors": 2,
        }
        rows.append(row)
    days = np.array([row["update_date"] for row in rows])
    counts = np.array([row["number_of_sub_categories"] for row in rows])
    sets: dict[str, list[Any]] = {"em": [], "r": [], "emis": []}
    near: dict[str, list[list[int]]] = {"none": [], "em": [], "r": [], "emis": []}
    for query in asked:
        label, archive = int(rng.choice(counts)), str(rng.choice(ARCHIVES))
        start, end = sorted(int(day) for day in rng.choice(days, 2))
        sets["em"].append({"label": label})
        sets["r"].append({"range_start": start, "range_end": end})
        sets["emis"].append({"label": archive})
        near["none"].append(ranked(vectors, query, np.ones(N, bool), 100))
        near["em"].append(ranked(vectors, query, counts == label, 100))
        near["r"].append(ranked(vectors, query, (days >= start) & (days <= end), 100))
        holds = np.array([archive in row["main_categories"] for row in rows])
        near["emis"].append(ranked(vectors, query, holds, 100))
    for name, lines in {"database": rows, **sets}.items():
        suffix = "attributes" if name == "database" else "query_attributes"
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}_{suffix}.jsonl").write_text(text)
    for name, lists in near.items():
        padded = [row + [-1] * (100 - len(row)) if i % 2 else row for i, row in enumerate(lists)]
        words = [word for row in padded for word in (len(row), *row)]
        title = "ground_truth" if name == "none" else f"ground_truth_{name}"
        np.array(words, "i4").tofile(folder / f"{title}.ivecs")
    return {"vectors": vectors, "asked": asked, "rows": rows, "sets": sets, "near": near}


def test_arxiv_there_and_back(tmp_path: Path, rng: np.random.Generator) -> None:
    made = arxiv_folder(tmp_path / "small", rng)
    run(import_, "arxiv-fanns", tmp_path / "small", "-o", tmp_path / "w")
    loaded = workloads.load(tmp_path / "w")
    assert [cell.name for cell in loaded.cells] == ["none", "em", "r", "emis"]
    for name, near in made["near"].items():
        assert answers(loaded, name) == near
    assert loaded.attributes["update_date"][0].as_py() == date.fromordinal(
        date(1970, 1, 1).toordinal() + made["rows"][0]["update_date"]
    )
    assert isinstance(loaded.params[2 * M]["range_start"], date)
    run(export, "arxiv-fanns", tmp_path / "w", "-o", tmp_path / "back")
    again = tmp_path / "back"
    for name in ("database_vectors.fvecs", "query_vectors.fvecs"):
        assert (again / name).read_bytes() == (tmp_path / "small" / name).read_bytes()
    lines = (again / "database_attributes.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == made["rows"]
    for name, params in made["sets"].items():
        lines = (again / f"{name}_query_attributes.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == params
        words = np.fromfile(again / f"ground_truth_{name}.ivecs", "i4").tolist()
        assert words == [word for row in made["near"][name] for word in (len(row), *row)]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("em_query", '{"label": "two"}', r"em_query_attributes.jsonl: line 2 \(at byte"),
        ("em_query", '{"label": null}', "expected label, found"),
        ("r_query", '{"range_start": 3}', "expected range_start, range_end, found"),
        ("r_query", '{"range_start": 3, "range_end": 99999999}', "99999999 is no day"),
        ("emis_query", '{"label": "cs", "other": 1}', "expected label, found"),
        ("emis_query", "[1]", "expected a JSON object, found"),
        ("database", "nonsense", r"database_attributes.jsonl: line 2 \(at byte"),
        ("database", '{"update_date": "2024-01-01"}', r"line 2 \(at byte"),
        ("database", "", "240 vectors, but attributes of 239 rows"),
        ("em_query", "", "12 queries, but 11 filters of set 'em'"),
    ],
)
def test_hostile_arxiv(
    tmp_path: Path, rng: np.random.Generator, name: str, line: str, message: str
) -> None:
    arxiv_folder(tmp_path / "a", rng)
    path = tmp_path / "a" / f"{name}_attributes.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:1], *filter(None, [line]), *lines[2:]]) + "\n")
    with pytest.raises(FormatError, match=message):
        exchange.write(arxiv_fanns.read(tmp_path / "a"), tmp_path / "w")


@pytest.mark.parametrize("large", [2**31 - 1, 2**31, 2**40])
def test_tags_that_int32_cannot_hold_are_numbered(
    tmp_path: Path, rng: np.random.Generator, large: int
) -> None:
    bigann_folder(tmp_path / "a", rng)
    run(import_, "bigann", tmp_path / "a", "-o", tmp_path / "w", "--depth", K)
    small = workloads.load(tmp_path / "w")
    tags = np.unique([tag for one in small.attributes["tags"].to_pylist() for tag in one]).tolist()
    grown = {tag: large - tags[-1] + tag for tag in tags}
    lists = [[grown[tag] for tag in one] for one in small.attributes["tags"].to_pylist()]
    params: list[Any] = [
        {"tags": [grown.get(tag, 5) for tag in one["tags"]]} for one in small.params
    ]
    changed = replace(small, attributes=pa.table({"tags": lists}), params=params)
    (tmp_path / "b").mkdir()
    bigann.write(changed, [cell.name for cell in small.cells], tmp_path / "b")
    words = (tmp_path / "b" / "tags.tags.txt").read_text().split()
    assert words == [str(grown[tag]) for tag in tags]
    (base,) = (tmp_path / "b").glob("base.metadata.*")
    found = spmat.read(base)
    assert found.columns == len(tags) + 1
    assert [int(words[at]) for at in found.values] == [tag for one in lists for tag in sorted(one)]


def test_cells_that_do_not_fit_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    arxiv_folder(tmp_path / "small", rng)
    run(import_, "arxiv-fanns", tmp_path / "small", "-o", tmp_path / "w", "--queries", 5)
    said = run(export, "annbench", tmp_path / "w", "-o", tmp_path / "h")
    assert "left out em: this format has no filters" in said
    said = run(export, "bigann", tmp_path / "w", "-o", tmp_path / "b")
    assert "left out r: this format cannot hold update_date BETWEEN" in said
    words = (tmp_path / "b" / "tags.main_categories.txt").read_text().split()
    assert words == sorted(ARCHIVES)
    found = bigann.read(
        tmp_path / "b",
        query=tmp_path / "b" / "query.emis.fbin",
        answers=tmp_path / "b" / "GT.emis.ibin",
    )
    exchange.write(found, tmp_path / "again")
    both = workloads.load(tmp_path / "w"), workloads.load(tmp_path / "again")
    assert answers(both[0], "emis") == answers(both[1], "tags")
    asked = ["bigann", str(tmp_path / "w"), "-o", str(tmp_path / "x"), "--cell", "zz"]
    done = CliRunner().invoke(export, asked)
    assert not (tmp_path / "x").exists()
    assert done.exit_code == 2 and "no cell is named zz; there are: none, em" in done.output


def test_names_of_files_differ_as_those_of_cells_do() -> None:
    names = ["eq 1 %", "eq-1-%", "a/b", "a%2Fb", "../x", "in=0.01"]
    made = [file_name(name) for name in names]
    assert len(set(made)) == len(names) and not any("/" in name for name in made)


def test_results_as_big_ann_exports_them(tmp_path: Path) -> None:
    made = bench_run_data.write(tmp_path / "run")
    run(export, "bigann-csv", tmp_path / "run", "-o", tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    points = made.points().to_pylist()
    assert len(rows) == len(points) > 0
    assert ",".join(rows[0]) == (
        "algorithm,parameters,dataset,count,qps,distcomps,build,indexsize,queriessize,"
        "mean_ssd_ios,mean_latency,recall/ap"
    )
    for row, point in zip(rows, points, strict=True):
        assert (row["algorithm"], row["parameters"]) == (point["engine"], point["setting"])
        assert float(row["recall/ap"]) == point["recall"]
        assert float(row["qps"]) == point["qps"]


def test_what_cannot_be_a_workload(tmp_path: Path) -> None:
    ones = np.ones((3, 2), "f4")

    def refused(message: str, metric: str, vectors: Array, asked: Array) -> None:
        chosen = exchange.QuerySet("all", "none", None, asked, [{}] * len(asked))
        attributes = exchange.no_attributes(len(vectors))
        foreign = exchange.Foreign("here", metric, vectors, attributes, [chosen])
        with pytest.raises(FannsError, match=message):
            exchange.write(foreign, tmp_path)

    refused("no vectors", "l2", ones[:0], ones)
    refused("or no queries", "l2", ones, ones[:0])
    refused("queries of 1 dimensions, items of 2", "l2", ones, ones[:, :1])
    refused("vector 0 of items is not finite", "l2", ones * np.nan, ones)
    refused("vector 0 of all is zero", "cosine", ones, ones * 0)
