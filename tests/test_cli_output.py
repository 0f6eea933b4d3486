import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fanns import cli_output as out


def test_json_is_strict_and_unrounded() -> None:
    value = {
        "a": float("nan"),
        "b": [1 / 3, float("inf")],
        "c": dt.date(2020, 1, 2),
        "d": np.float64(0.1),
        "e": np.arange(2),
        "f": b"x",
        "g": None,
        "h": True,
    }
    assert json.loads(out.to_json(value)) == {
        "a": None,
        "b": [1 / 3, None],
        "c": "2020-01-02",
        "d": 0.1,
        "e": [0, 1],
        "f": "x",
        "g": None,
        "h": True,
    }


def test_cells_cannot_steer_a_terminal() -> None:
    assert out.cell("a\x1b[31m\nb") == "a [31m b"
    assert out.cell(["x", None, 0.123456789]) == "x, , 0.123457"
    text = out.render(["[red]h"], [["[bold]v[/bold]"]])
    assert "[red]h" in text and "[bold]v[/bold]" in text


def test_format_follows_the_option_then_the_file_then_the_terminal() -> None:
    assert out.choose_format("csv", Path("x.json")) == "csv"
    assert out.choose_format(None, Path("x.jsonl")) == "ndjson"
    assert out.choose_format(None, Path("x.dat")) == "ndjson"
    assert out.choose_format(None, Path("x.parquet")) == "parquet"
    assert out.choose_format(None, None) == "ndjson"
    assert out.choose_format(None, None, "json") == "json"


def test_fields_flatten_records() -> None:
    assert out.fields({"a": {"b": 1234, "c": {}}, "d": True, "e": [1, 2], "f": [{"g": 3}]}) == [
        ("a.b", "1,234"),
        ("a.c", "{}"),
        ("d", "True"),
        ("e", "1, 2"),
        ("f.0.g", "3"),
    ]


@pytest.mark.parametrize("format_", ["csv", "ndjson", "table"])
def test_empty_tables(format_: str, tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([], pa.int64())})
    out.write_table(table, format_, tmp_path / "x")
    assert (tmp_path / "x").exists()


def test_tables_cut_long_cells_only() -> None:
    text = out.render(["id", "title"], [["0123456789", "word" * 60]])
    line = text.splitlines()[-1]
    assert "0123456789" in line and line.endswith("…") and len(line) <= 160
    assert "\x1b" not in text
