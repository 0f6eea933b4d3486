"""Files in the forms that arXiv's metadata come in, as tests write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

FIRST = ["Ana", "Chen", "Émile", "Jürgen", "Łukasz", "Maria", "Noor", "Søren"]
LAST = ["Bal\\'azs", 'G\\"odel', "Ivanov", "Müller", "Nakamura", "O'Hara", "Smith", "van der Berg"]
CATEGORIES = ["hep-th", "math.CO", "cs.LG", "stat.ML", "cond-mat.str-el", "quant-ph", "astro-ph"]
WORDS = ["graphs", "lattice", "spectra", "bounds", "learning", "quantum", "galaxies", "proof"]
WORDS += ["theory", "field", "search", "model", "vector", "measure", "random", "matrix", "phase"]
LICENSES = [
    None,
    "http://arxiv.org/licenses/nonexclusive-distrib/1.0/",
    "http://creativecommons.org/licenses/by/4.0/",
]


def snapshot_record(number: int) -> dict[str, Any]:
    """One record as arXiv's metadata snapshot has it, with all of its fields."""
    rng = np.random.default_rng([7, number])

    def words(count: int) -> str:
        return " ".join(rng.choice(WORDS, count).tolist())

    people = [(str(rng.choice(LAST)), str(rng.choice(FIRST))) for _ in range(rng.integers(1, 5))]
    categories = rng.choice(CATEGORIES, rng.integers(1, 4), replace=False).tolist()
    year, month, day = 2007 + int(rng.integers(0, 15)), int(rng.integers(1, 13)), 2
    name = "JanFebMarAprMayJunJulAugSepOctNovDec"[3 * month - 3 : 3 * month]
    return {
        "id": f"{year - 2000:02d}{month:02d}.{number:05d}",
        "submitter": f"{people[0][1]} {people[0][0]}",
        "authors": ", ".join(f"{first} {last}" for last, first in people),
        "title": f"On {words(3)} and\n  {words(2)} number {number}",
        "comments": None if number % 4 == 0 else f"{number % 40 + 1} pages, {number % 7} figures",
        "journal-ref": None if number % 3 else f"J. Tests {number} (2010) 1--9",
        "doi": None if number % 3 else f"10.1000/{number}",
        "report-no": None,
        "categories": " ".join(categories),
        "license": LICENSES[number % 3],
        "abstract": f"  We study {words(30)}.\nThen {words(10)}.\n",
        "versions": [
            {"version": f"v{v + 1}", "created": f"Mon, {day + v} {name} {year} 19:18:42 GMT"}
            for v in range(rng.integers(1, 4))
        ],
        "update_date": f"{year + 1}-{month:02d}-11",
        "authors_parsed": [[last, first, ""] for last, first in people],
    }


def json_line(record: dict[str, Any]) -> bytes:
    """A line as the snapshot has it: everything beyond ASCII as escapes."""
    return json.dumps(record).encode() + b"\n"


def write_lines(path: Path, lines: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def write_snapshot(path: Path, rows: int) -> Path:
    """A snapshot of so many whole records."""
    return write_lines(path, (json_line(snapshot_record(n)) for n in range(rows)))


def tree(folder: Path) -> dict[str, bytes]:
    """The content of every file in a folder, by its name there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
