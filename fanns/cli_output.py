"""The formats that commands print: table, json, ndjson, csv, parquet."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
FORMATS = ("table", "json", "ndjson", "csv", "parquet")
_PIPED_WIDTH = 160  # characters of a table that does not go to a terminal
_SHORT = 24  # characters of a cell that is never cut, such as an id
Command = TypeVar("Command", bound=Callable[..., Any])


def output_options(formats: tuple[str, ...] = FORMATS) -> Callable[[Command], Command]:
    """--format and -o."""

    def add(command: Command) -> Command:
        command = click.option(
            "-o",
            "--output",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write to this file instead of stdout.",
        )(command)
        piped = "ndjson" if "ndjson" in formats else "json"
        return click.option(
            "--format",
            "format_",
            type=click.Choice(formats),
            help=f"Default: table on a terminal, {piped} otherwise.",
        )(command)

    return add


def choose_format(given: str | None, output: Path | None, piped: str = "ndjson") -> str:
    """The format asked for; else by the file's ending; else by where stdout goes."""
    if given is not None:
        return given
    if output is not None:
        ending = output.suffix.removeprefix(".")
        return {"jsonl": "ndjson"}.get(ending, ending if ending in FORMATS else piped)
    return "table" if sys.stdout.isatty() else piped


def write_text(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        output.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")


def write_table(table: pa.Table, format_: str, output: Path | None) -> None:
    """Write rows in a format that has only rows: table, ndjson, csv or parquet."""
    if format_ == "parquet":
        _write_parquet(table, output)
    elif format_ == "csv":
        write_text(_csv(table), output)
    elif format_ == "ndjson":
        write_text("".join(to_json(row) + "\n" for row in table.to_pylist()), output)
    else:
        rows = ([cell(value) for value in row.values()] for row in table.to_pylist())
        write_text(render(table.column_names, rows), output)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text; dates in ISO form, NaN and infinities as null, numbers unrounded."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, (str, int)) else str(value)


def cell(value: Any) -> str:
    """A value as one short printable line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    # Data may hold anything, also what steers a terminal.
    return "".join(c if c.isprintable() else " " for c in str(value))


def render(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table as plain text, as wide as the terminal; long cells are cut, short columns are not."""
    from rich.cells import cell_len, set_cell_size

    lines = [list(heads), *(list(row) for row in rows)]
    longest = [max(cell_len(line[i]) for line in lines) for i in range(len(lines[0]))]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPED_WIDTH
    widths = _fit(longest, width - 2 * (len(longest) - 1))

    def fill(text: str, size: int) -> str:
        return set_cell_size(text, size - 1) + "…" if cell_len(text) > size else text

    made = [
        "  ".join(set_cell_size(fill(t, w), w) for t, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([made[0], "─" * min(width, sum(widths) + 2 * (len(widths) - 1)), *made[1:]])


def _fit(longest: list[int], room: int) -> list[int]:
    """Widths of columns: short ones whole, the rest sharing what is left of the room."""
    widths = list(longest)
    wide = sorted((w, i) for i, w in enumerate(longest) if w > _SHORT)
    room -= sum(w for w in longest if w <= _SHORT)
    for left, (w, i) in zip(range(len(wide), 0, -1), wide, strict=True):
        widths[i] = min(w, max(_SHORT // 2, room // left))
        room -= widths[i]
    return widths


def fields(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as lines of dotted name and value."""
    lines: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and value:
            lines += fields(value, f"{prefix}{name}.")
        else:
            number = isinstance(value, int) and not isinstance(value, bool)
            lines.append((f"{prefix}{name}", f"{value:,}" if number else cell(plain(value))))
    return lines


def _csv(table: pa.Table) -> str:
    """CSV with a header line; lists as JSON text, nulls empty."""
    import csv

    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([to_json(v) if isinstance(v, list) else plain(v) for v in row.values()])
    return made.getvalue()


def _write_parquet(table: pa.Table, output: Path | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if output is not None:
        pq.write_table(table, output)
        return
    if sys.stdout.isatty():
        raise click.UsageError("parquet is no text: give a file with -o, or pipe it")
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    click.echo(sink.getvalue().to_pybytes(), nl=False)
