"""What `--source` names: files, folders, patterns, or servers to harvest."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from fanns.errors import InputError

from .arxiv_oai import ARXIV, PAUSE, Harvest
from .arxiv_records import Source
from .arxiv_snapshot import ENDINGS, JsonLines
from .arxiv_tables import ParquetTable

# Files of data sets of this project's form, which hold no records.
_NO_RECORDS = ("queries.parquet", "truth.parquet", "users.parquet")


def find(
    named: Sequence[str],
    work: Path,
    pause: float = PAUSE,
) -> list[Source]:
    """The sources of these names, in order.

    A name is a file (Parquet, else JSON lines, which may be gzipped or zipped), a folder of such
    files (queries.parquet aside), a pattern, the URL of an OAI-PMH server, or `arxiv` for arXiv's.
    work: where harvests keep pages. Raises InputError for a name that leads to nothing, or twice
    to the same.
    """
    found: list[Source] = []
    for name in named:
        if name == "arxiv" or name.startswith(("http://", "https://")):
            found.append(Harvest(ARXIV if name == "arxiv" else name, work, pause))
        else:
            found += [_of_file(path) for path in _files(name)]
    names = [source.name for source in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"several sources are called {twice[0]}: rename one, or give it once")
    return found


def _files(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if _is_data(p) and p.name not in _NO_RECORDS)
        if not found:
            raise InputError(f"{path} holds no {', '.join(('.parquet', *ENDINGS))}")
        return found
    if path.is_file():
        return [path]
    if found := sorted(Path(p) for p in glob.glob(name) if Path(p).is_file()):
        return found
    raise InputError(f"no source at {name}: give a file, a folder, a or a URL")


def _is_data(path: Path) -> bool:
    return path.is_file() and path.name.endswith((".parquet", *ENDINGS))


def _of_file(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return ParquetTable(path) if magic == b"PAR1" else JsonLines(path)
