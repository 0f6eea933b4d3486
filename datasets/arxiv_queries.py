"""Search phrases for a set of papers, from papers that are held out of it, or from a user's file.

The published benchmark asks 10,000 short search terms. These are made of held-out papers: for each
query one of its title, a key phrase of its title or a key phrase of its abstract.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanns.errors import InputError

from .key_phrases import key_phrases

# What a query is made of, and how often: short phrases as people type them, and whole titles.
KINDS = {"title": 0.4, "title phrase": 0.2, "abstract phrase": 0.4}
LONGEST = 200  # characters of a phrase; a longer title is not taken
_DEEP = 4  # key phrases of an abstract that are taken, best first
_MATH = re.compile(r"\$[^$]*\$")
_COMMAND = re.compile(r"\\[A-Za-z]+|[{}\\]")


def held_out(rows: int, count: int, seed: int = 0) -> NDArray[np.bool_]:
    """bool[rows]: the `count` rows that queries are made of, and that the base set must not have.

    Raises InputError when there are not more rows than that.
    """
    if not 0 <= count < max(1, rows):
        raise InputError(
            f"{count} papers cannot be held out of {rows}: ask for fewer queries, or give more rows"
        )
    mask = np.zeros(rows, np.bool_)
    mask[np.random.default_rng([seed, 12]).permutation(rows)[:count]] = True
    return mask


def search_phrases(papers: pa.Table, count: int, seed: int = 0) -> pa.Table:
    """`count` distinct search phrases from papers with the columns title and abstract.

    Returns text (string), kind (string, one of KINDS) and row (int64, of `papers`). Every paper
    gives one phrase before any gives a second one; columns may hold nulls. Raises InputError when
    the papers have too few phrases.
    """
    rng = np.random.default_rng([seed, 13])
    order = rng.permutation(papers.num_rows)
    wanted = rng.choice(list(KINDS), size=papers.num_rows, p=list(KINDS.values()))
    titles, abstracts = _texts(papers, "title"), _texts(papers, "abstract")
    left: dict[int, list[tuple[str, str]]] = {}
    taken: set[str] = set()
    found: list[tuple[str, str, int]] = []
    while len(found) < count:
        before = len(found)
        for row in order.tolist():
            if row not in left:
                left[row] = _phrases(titles[row], abstracts[row], str(wanted[row]))
            if (one := _next(left[row], taken)) is not None:
                found.append((*one, row))
            if len(found) == count:
                break
        if len(found) == before:
            raise InputError(
                f"{papers.num_rows} papers give {before} different search phrases, not {count}: "
                "hold out more, ask for fewer, or give a file of queries"
            )
    return pa.table(
        {
            "text": pa.array([text for text, _, _ in found], pa.string()),
            "kind": pa.array([kind for _, kind, _ in found], pa.string()),
            "row": pa.array([row for _, _, row in found], pa.int64()),
        }
    )


def phrases(papers: pa.Table, count: int, seed: int = 0) -> list[str]:
    """The texts of `search_phrases`."""
    return list(search_phrases(papers, count, seed)["text"].to_pylist())


def from_file(path: Path, count: int | None = None) -> pa.Table:
    """The queries of a user: column text, and of Parquet every other column that is there.

    Parquet (.parquet) with a column text; JSON lines (.jsonl, .json) of objects with a text, or of
    strings; else one query a line of UTF-8 text. Empty lines are passed over. count: only the first
    ones. Raises InputError naming the file and the line.
    """
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        elif path.suffix in (".jsonl", ".json"):
            table = pa.table({"text": pa.array(_json_lines(path), pa.string())})
        else:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            kept = [line.strip() for line in lines if line.strip()]
            table = pa.table({"text": pa.array(kept, pa.string())})
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as queries: {error}") from error
    if "text" not in table.column_names or not pa.types.is_string(table.schema.field("text").type):
        raise InputError(f"{path} has no column text of strings: {', '.join(table.column_names)}")
    table = table.slice(0, count)
    bad = [n for n, text in enumerate(table["text"].to_pylist()) if not text or not text.strip()]
    if bad:
        raise InputError(f"{path}: query {bad[0]}, counted from 0, has no text")
    if not table.num_rows:
        raise InputError(f"{path} holds no query")
    return table


def plain(text: str) -> str:
    """A title as a search phrase: without formulas, TeX commands and line breaks.

    >>> plain("On  the $O(n)$ model: a \\\\textit{new}\\\\n approach.")
    'On the model: a new approach'
    """
    text = _COMMAND.sub(" ", _MATH.sub(" ", text))
    return re.sub(r"\s+([:;,.?!])", r"\1", " ".join(text.split())).strip(" .,;:-")


def _texts(papers: pa.Table, column: str) -> list[str]:
    if column not in papers.column_names:
        raise InputError(f"search phrases need a column {column}: name queries by a file instead")
    return [plain(text or "") for text in papers[column].to_pylist()]


def _phrases(title: str, abstract: str, first: str) -> list[tuple[str, str]]:
    """The phrases of one paper with their kinds, the wanted kind first, last to take at the end."""
    whole = [title] if 0 < len(title) <= LONGEST and " " in title else []
    kinds = {
        "title": whole,
        "title phrase": key_phrases(title),
        "abstract phrase": key_phrases(abstract)[:_DEEP],
    }
    order = [first, *(kind for kind in kinds if kind != first)]
    found = [(text, kind) for kind in order for text in kinds[kind] if len(text) <= LONGEST]
    return found[::-1]


def _next(left: list[tuple[str, str]], taken: set[str]) -> tuple[str, str] | None:
    """The next phrase that no other query has, in any case of letters."""
    while left:
        text, kind = left.pop()
        if text.lower() not in taken:
            taken.add(text.lower())
            return text, kind
    return None


def _json_lines(path: Path) -> list[str]:
    found = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: {error}") from error
            text = value.get("text") if isinstance(value, dict) else value
            if not isinstance(text, str):
                raise InputError(f"{path}, line {number}: expected a text, found {line[:60]!r}")
            found.append(text)
    return found
