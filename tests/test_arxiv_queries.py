"""Search phrases of held-out papers, and queries of a file."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanns.datasets import arxiv_like
from fanns.datasets.arxiv_queries import (
    KINDS,
    from_file,
    held_out,
    phrases,
    plain,
    search_phrases,
)
from fanns.datasets.key_phrases import MOST, STOP_WORDS, key_phrases
from fanns.errors import InputError


def test_held_out_rows() -> None:
    mask = held_out(1_000, 100, seed=3)
    assert mask.dtype == bool and mask.sum() == 100
    np.testing.assert_array_equal(mask, held_out(1_000, 100, seed=3))
    assert (mask != held_out(1_000, 100, seed=4)).any()
    assert held_out(5, 0).sum() == 0
    for rows, count in ((10, 10), (10, 11), (10, -1), (0, 1)):
        with pytest.raises(InputError, match="cannot be held out"):
            held_out(rows, count)


def test_every_paper_gives_one_phrase_before_any_gives_two() -> None:
    papers = arxiv_like.items(200, 8)
    found = search_phrases(papers, 150, seed=1)
    assert found.num_rows == 150 == len(set(found["row"].to_pylist()))
    texts = [text.lower() for text in found["text"].to_pylist()]
    assert len(set(texts)) == 150
    assert set(found["kind"].to_pylist()) == set(KINDS)
    again = search_phrases(papers, 150, seed=1)
    assert again.equals(found) and phrases(papers, 150, 1) == found["text"].to_pylist()
    assert not search_phrases(papers, 150, seed=2).equals(found)
    more = search_phrases(papers, 400, seed=1)
    assert more.slice(0, 150).equals(found)
    assert np.bincount(more["row"].to_pylist()).max() <= 4


def test_phrases_come_from_their_paper(arxiv_queries: pa.Table) -> None:
    found = search_phrases(arxiv_queries, 1_000)
    titles, abstracts = (arxiv_queries[name].to_pylist() for name in ("title", "abstract"))
    short = 0
    for text, kind, row in zip(*(found[n].to_pylist() for n in found.column_names), strict=True):
        source = " ".join(plain(one[row]) for one in (titles, abstracts)).lower()
        assert all(word in source for word in text.lower().split())
        if kind != "title":
            short += 1
            assert 2 <= len(text.split()) <= MOST
            assert not STOP_WORDS & set(text.lower().split())
    assert 500 < short < 700


def test_papers_without_texts_give_what_they_can() -> None:
    papers = pa.table(
        {
            "title": pa.array(["Spin glasses at zero temperature", None, "", "$x^2$", "Word"]),
            "abstract": pa.array([None, "Heavy quark masses", None, "", "A word."]),
        }
    )
    assert sorted(phrases(papers, 3), key=str.lower)[0] == "Heavy quark masses"
    with pytest.raises(InputError, match="5 papers give 4 different search phrases, not 5"):
        phrases(papers, 5)
    with pytest.raises(InputError, match="need a column abstract"):
        phrases(papers.select(["title"]), 1)


def test_formulas_and_commands_leave_the_phrases() -> None:
    assert plain("The $\\beta$-function of {\\em QCD}\n at $T=0$.") == ("The -function of QCD at")
    assert key_phrases("") == [] == key_phrases("1 2 3, of the and")
    assert key_phrases("Dark matter. The dark Matter halo_model, dark matter") == [
        "dark Matter halo",
        "Dark matter",
    ]


def test_queries_of_a_file(tmp_path: Path) -> None:
    lines = ["graph neural networks", "dunkle Materie für Anfänger", "black holes"]
    text = tmp_path / "queries.txt"
    text.write_text("\n\n".join(f" {line}" for line in lines) + "\n", encoding="utf-8")
    objects = tmp_path / "queries.jsonl"
    objects.write_text(
        f"{json.dumps({'text': lines[0], 'x': 1})}\n\n{json.dumps(lines[1])}\n"
        f"{json.dumps(lines[2], ensure_ascii=False)}\n",
        encoding="utf-8",
    )
    table = tmp_path / "queries.parquet"
    pq.write_table(pa.table({"text": lines, "topic": [1, 2, 3]}), table)
    for path in (text, objects, table):
        assert from_file(path)["text"].to_pylist() == lines
        assert from_file(path, 2)["text"].to_pylist() == lines[:2]
    assert from_file(table).column_names == ["text", "topic"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", b"", "holds no query"),
        ("q.txt", b"\xff\xfe\xff", "cannot be read as queries"),
        ("q.jsonl", b'"a b"\n{"text": 1}\n', "line 2: expected a text"),
        ("q.jsonl", b'"a b"\n\n{"text": "a', "line 3: "),
        ("q.jsonl", b'" "\n', "query 0, counted from 0, has no text"),
        ("q.parquet", b"PAR1", "cannot be read as queries"),
    ],
)
def test_files_that_are_no_queries(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        from_file(tmp_path / name)


def test_a_table_without_texts_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query": ["a"]}), tmp_path / "q.parquet")
    with pytest.raises(InputError, match="no column text of strings: query"):
        from_file(tmp_path / "q.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        from_file(tmp_path / "none.txt")
