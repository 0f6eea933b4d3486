"""Reading arXiv's metadata snapshot, with its oddities, and what is broken or hostile in it."""

import datetime as dt
import gzip
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.datasets import arxiv_records, arxiv_snapshot, arxiv_sources
from fanns.datasets.arxiv_attributes import ATTRIBUTES, attributes, figures, omitted, pages
from fanns.datasets.arxiv_records import Broken, BrokenRecord, Raw, record
from fanns.datasets.arxiv_snapshot import JsonLines
from fanns.errors import InputError
from tests.arxiv_files import json_line, snapshot_record, write_lines, write_snapshot

pytest.importorskip("pylatexenc")

ROWS = 1_000


def odd_lines() -> tuple[list[bytes], dict[int, str]]:
    """A snapshot of 1,000 lines with every oddity; the broken lines and a word of the reason."""
    records: list[dict[str, Any]] = [snapshot_record(n) for n in range(ROWS)]
    lines = [json_line(one) for one in records]
    broken = {}

    def put(line: int, content: bytes, reason: str | None = None) -> None:
        lines[line - 1] = content
        if reason is not None:
            broken[line] = reason

    def changed(line: int, **fields: Any) -> bytes:
        return json_line({**records[line - 1], **fields})

    def without(line: int, *names: str) -> bytes:
        return json_line({n: v for n, v in records[line - 1].items() if n not in names})

    put(1, b"\xef\xbb\xbf" + lines[0])  # a byte order mark
    put(3, lines[2].replace(b"We study", b"We \\u00e9tudy \\ud835\\udd38"))  # escapes, a pair
    put(5, json.dumps(records[4], ensure_ascii=False).encode() + b"\r\n")  # UTF-8 as it is
    put(7, without(7, "comments", "doi", "journal-ref", "report-no", "license", "submitter"))
    put(9, without(9, "authors_parsed"))
    put(11, changed(11, authors_parsed=[], authors=None))
    put(13, changed(13, versions=[{"version": "v1", "created": "Mon, 31 Feb 2007 19:18:42 GMT"}]))
    put(15, changed(15, versions=[{"version": "v1"}, {"created": "2 Apr 07 01:02:03 +0900"}]))
    put(17, changed(17, versions=None, update_date=None))
    put(19, changed(19, update_date="2009-02-30"))
    put(21, changed(21, categories=["math.CO cs.DM", "math.CO"], versions=["v1", "v2"]))
    put(23, b"   \n")  # blank: left out, no record
    put(25, changed(25, license="", comments="  "))
    put(102, without(102, "abstract"), "abstract missing")
    put(104, changed(104, title=" \n "), "title missing")
    put(106, changed(106, title=["a"]), "title is a list")
    put(108, changed(108, id=704.0001), "id is a number")
    put(110, lines[109][:200] + b"\n", "no JSON")
    put(112, lines[111].replace(b"We study", b"We \xff\xfe"), "no UTF-8")
    put(114, b"[1, 2]\n", "no JSON object")
    put(116, lines[115].replace(b"We study", b"We \\ud835 stop"), "half a character")
    put(118, changed(118, versions=[7]), "a version is a number")
    put(120, changed(120, authors_parsed=["Smith"]), "expected a list")
    put(122, b"[" * 200_000 + b"\n", "no JSON")
    put(124, b'{"id": ' + b"9" * 5_000 + b"}\n", "no JSON")
    put(ROWS, lines[ROWS - 1][:-300], "no JSON")  # cut off, no newline
    return lines, broken


def parsed(source: arxiv_records.Source) -> tuple[dict[int, arxiv_records.Record], dict[int, str]]:
    """Records by line, and reasons of the broken ones by line."""
    good, broken = {}, {}
    for found in source.read():
        if isinstance(found, Broken):
            broken[found.line] = found.reason
            continue
        try:
            good[found.line] = record(found.fields)
        except BrokenRecord as error:
            broken[found.line] = str(error)
    return good, broken


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    lines, broken = odd_lines()
    path = tmp_path_factory.mktemp("snapshot") / "arxiv-metadata-oai-snapshot.json"
    return write_lines(path, lines), broken


def test_a_thousand_odd_records(snapshot: tuple[Path, dict[int, str]]) -> None:
    good, broken = parsed(JsonLines(snapshot[0]))
    assert broken.keys() == snapshot[1].keys()
    for line, reason in snapshot[1].items():
        assert reason in broken[line], (line, broken[line])
    assert len(good) == ROWS - 1 - len(broken)  # one line is blank

    table = attributes(arxiv_records.table(good[line].values for line in sorted(good)))
    assert table.schema == ATTRIBUTES
    rows = dict(zip(sorted(good), table.to_pylist(), strict=True))
    assert rows[1]["id"] == snapshot_record(0)["id"]
    assert "We étudy \N{MATHEMATICAL DOUBLE-STRUCK CAPITAL A}" in rows[3]["abstract"]
    first = snapshot_record(4)
    assert rows[5]["authors"][0] == rows[5]["submitter"]
    assert rows[5]["title"] == " ".join(first["title"].split())
    assert rows[5]["sub_categories"] == first["categories"].split()
    assert rows[5]["abstract_length"] == len(rows[5]["abstract"])
    for name in ("submitter", "doi", "journal_ref", "license", "pages", "figures"):
        assert rows[7][name] is None, name
    assert rows[7]["has_comments"] is False
    assert rows[9]["authors"] == [name.replace("~", " ") for name in rows[9]["authors"]]
    assert rows[9]["number_of_authors"] == len(snapshot_record(8)["authors_parsed"])
    assert rows[11]["authors"] is None and rows[11]["number_of_authors"] is None
    assert rows[13]["submitted_date"] is None and rows[13]["number_of_versions"] == 1
    assert rows[13]["year"] == 2000 + int(rows[13]["id"][:2])  # as its id tells
    assert (
        good[13].odd_dates and good[19].odd_dates and good[15].odd_dates and not good[5].odd_dates
    )
    assert rows[15]["number_of_versions"] == 2
    assert rows[17]["number_of_versions"] is None and rows[17]["update_date"] is None
    last = max(version["created"] for version in good[19].values["versions"])
    assert rows[19]["update_date"] == (last - dt.datetime(1970, 1, 1)).days
    assert rows[21]["sub_categories"] == ["math.CO", "cs.DM"]
    assert rows[21]["main_categories"] == ["math", "cs"] and rows[21]["number_of_versions"] == 2
    assert rows[25]["license"] is None and rows[25]["has_comments"] is False


@pytest.mark.parametrize("kind", ["gz", "zip", "renamed"])
def test_compressed_is_the_same(
    kind: str, snapshot: tuple[Path, dict[int, str]], tmp_path: Path
) -> None:
    content, path = snapshot[0].read_bytes(), tmp_path / f"snapshot.json.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(content))
    else:  # told by its bytes, not by its name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../arxiv-metadata-oai-snapshot.json", content)
            archive.writestr("README.md", "other things may lie beside it")
    assert list(JsonLines(path).read()) == list(JsonLines(snapshot[0]).read())
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("after", [0, 1, 22, 23, 111, 998, 999, 1000, 5000])
def test_reading_goes_on_after_a_line(after: int, snapshot: tuple[Path, dict[int, str]]) -> None:
    source = JsonLines(snapshot[0])
    assert list(source.read(after)) == [one for one in source.read() if one.line > after]


@pytest.mark.parametrize("cut", [10, 3_000, -5])
def test_an_archive_that_ends_early(cut: int, tmp_path: Path) -> None:
    whole = write_snapshot(tmp_path / "a.json", 50)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(whole.read_bytes())[:cut])
    if cut == 10:  # nothing but the header
        with pytest.raises(InputError, match="cannot be read"):
            list(JsonLines(path).read())
        return
    *before, last = JsonLines(path).read()
    assert isinstance(last, Broken) and "ends early" in last.reason
    assert before == list(JsonLines(whole).read())[: len(before)]


def test_a_damaged_zip_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", write_snapshot(tmp_path / "a.json", 20).read_bytes())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"We study", b"WE STUDY", 1))  # another checksum
    *_, last = JsonLines(path).read()
    assert isinstance(last, Broken) and "damaged" in last.reason


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arxiv_snapshot, "HARMLESS", 1 << 16)
    monkeypatch.setattr(arxiv_snapshot, "LONGEST_LINE", 1 << 14)
    zeros = b"0" * (1 << 22)
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(zeros))
    with pytest.raises(InputError, match="expands more than 200 times"):
        list(JsonLines(bomb).read())
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.json", zeros)
    with pytest.raises(InputError, match="expands more than 200 times"):
        list(JsonLines(archive).read())


def test_a_line_without_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arxiv_snapshot, "LONGEST_LINE", 4096)
    good = json_line(snapshot_record(1))
    long = b'{"x": "' + b"y" * 10_000 + b'"}\n'
    path = write_lines(tmp_path / "a.json", [long, good, b"z" * 4096 + b"\n", good, b"w" * 9_000])
    found = list(JsonLines(path).read())
    assert [type(one) for one in found] == [Broken, Raw, Broken, Raw, Broken]
    assert [one.line for one in found] == [1, 2, 3, 4, 5]
    assert isinstance(found[0], Broken) and "longer than" in found[0].reason


def test_zips_that_hold_several_or_no_files(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", b"{}\n")
        archive.writestr("b.json", b"{}\n")
    with pytest.raises(InputError, match=r"found 2 \(a.json, b.json\)"):
        list(JsonLines(path).read())
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(InputError, match="found 0"):
        list(JsonLines(path).read())


def test_tables_of_like_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["1502.04974", "math/9909114", None],
            "title": ["A title", "Another", "No id"],
            "abstract": ["It is  so.", "Or so.", "x"],
            "primary_category": ["physics.ao-ph", "math.AP", "math.AP"],
            "categories": [["physics.flu-dyn", "physics.ao-ph"], ["math.AP"], ["math.AP"]],
            "authors": [["Henk Dijkstra", 'Taylan {\\c S}eng\\"ul'], None, None],
            "submitted_date": pa.array([dt.date(2015, 2, 11), dt.date(1999, 9, 20), None]),
            "updated_date": pa.array([None, dt.date(2000, 3, 27), None], pa.date32()),
            "comments": ["3 pages", None, None],
            "versions": pa.array([3, 1, 1], pa.int16()),
            "embedding": pa.array([[0.5], [0.5], [0.5]], pa.list_(pa.float32(), 1)),
        }
    )
    pq.write_table(table, tmp_path / "papers.parquet", row_group_size=2)
    (source,) = arxiv_sources.find([str(tmp_path)], tmp_path)
    assert list(source.read(1)) == list(source.read())[1:]
    assert list(source.read(2)) == list(source.read())[2:]
    assert list(source.read(9)) == []
    good, broken = parsed(source)
    assert broken == {3: "id missing or blank"}
    columns = good[1].columns
    records = arxiv_records.table(one.values for one in good.values())
    records = records.select([n for n in records.column_names if n in columns])
    missing = ["submitter", "license", "doi", "journal_ref"]
    assert omitted(records.column_names) == missing
    made = attributes(records)
    assert made.column_names == [n for n in ATTRIBUTES.names if n not in missing]
    one, other = made.to_pylist()
    assert one["sub_categories"] == ["physics.ao-ph", "physics.flu-dyn"]  # the primary one first
    assert one["authors"] == ["Henk Dijkstra", "Taylan Şengül"]
    assert one["update_date"] == (dt.date(2015, 2, 11) - dt.date(1970, 1, 1)).days  # never updated
    assert other["update_date"] == (dt.date(2000, 3, 27) - dt.date(1970, 1, 1)).days
    assert (one["number_of_versions"], one["pages"], one["year"]) == (3, 3, 2015)

    lines = [json.dumps(row, default=str).encode() + b"\n" for row in table.to_pylist()]
    jsonl = write_lines(tmp_path / "papers.jsonl", lines)
    again, _ = parsed(JsonLines(jsonl))
    assert [row.values for row in again.values()] == [row.values for row in good.values()]


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no source at"):
        arxiv_sources.find([str(tmp_path / "absent.json")], tmp_path)
    with pytest.raises(InputError, match="holds no"):
        arxiv_sources.find([str(tmp_path)], tmp_path)
    write_snapshot(tmp_path / "a.json", 1)
    with pytest.raises(InputError, match=r"several sources are called a\.json"):
        arxiv_sources.find([str(tmp_path), str(tmp_path / "*.json")], tmp_path)
    pq.write_table(pa.table({"id": ["x"], "title": ["y"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="has no column abstract, categories"):
        arxiv_sources.find([str(tmp_path / "b.parquet")], tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        arxiv_sources.find([str(tmp_path / "b.parquet")], tmp_path)


@pytest.mark.parametrize(
    ("comments", "counts"),
    [
        ("14 pages, plain tex, 5 figures", (14, 5)),
        ("27 Pages (with the title page) and 4 figures", (27, 4)),
        ("6pages,10figures", (6, 10)),
        ("8+4 pages, 1 .eps figure", (12, 1)),
        ("20 pages, two eps figures", (20, 2)),
        ("4.2 pages, no figures", (4, 0)),
        ("45 page survey paper", (45, None)),
        ("22 pp., 3 figs.", (22, 3)),
        ("188 pages, many figures", (188, None)),
        ("J. Phys. 2015, pp. 453-460; see Fig. 3 of Sept 2016 fig 15", (None, None)),
        (None, (None, None)),
    ],
)
def test_pages_and_figures(comments: str | None, counts: tuple[int | None, int | None]) -> None:
    assert (pages(comments), figures(comments)) == counts
