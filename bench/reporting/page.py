"""A run's report as one HTML page that needs no network: tables, figures, and all data."""

from __future__ import annotations

import html as markup
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from fanns.bench.reporting import prose, sheets, sheets_run
from fanns.bench.reporting.figures import ratio_plot, recall_speed
from fanns.bench.reporting.heat import heat_map
from fanns.bench.reporting.looks import Figure
from fanns.bench.reporting.page_assets import FRAME, SCRIPT, STYLE
from fanns.bench.reporting.ratios import RECALLS
from fanns.bench.reporting.report import RECALL, Findings
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import mode_name, scrub

# Of every cell, once, in the table of cells: not repeated in each of its points.
_OF_CELLS = ("family", "where", "target", "correlation", "selectivity", "affinity")


def html(found: Findings) -> str:
    """The whole page. Holds no absolute paths, and asks for nothing outside itself."""
    from plotly.offline import get_plotlyjs

    name = found.header.get("workload", {}).get("name", "a run")
    return FRAME.format(
        title=_text(f"Filtered vector search measured: {name}"),
        setting=_text(prose.setting(found)),
        style=STYLE,
        notes="".join(f'<p class="note">{_text(note)}</p>' for note in prose.notes(found)),
        wrong=_wrong(found),
        modes=_options([(mode, mode_name(mode)) for mode in found.modes], found.modes[0]),
        recalls=_options([(f"{r:g}", f"{r:g}") for r in RECALLS], f"{RECALL:g}"),
        families=_options([(f, f) for f in _families(found)], ""),
        cells=_options([(cell, cell) for cell in found.cells], ""),
        summary=_each(found, _summary),
        ratios=_each(found, _ratios),
        other=_each_mode(found, _other),
        engines=_each(found, _engines),
        builds=_table(sheets_run.builds(found.builds, found.raw)),
        problems=_problems(found),
        cell_table=_table(sheets.cells(found.cells.values())),
        method="".join(f"<li>{_text(text.format(ours=found.ours))}</li>" for text in prose.METHOD),
        facts=_table(sheets_run.facts(prose.circumstances(found))),
        figures=_json(_figures(found)),
        data=_json(data(found)),
        script=SCRIPT,
        plotly=get_plotlyjs(),
    )


def data(found: Findings) -> dict[str, Any]:
    """All that the page embeds for reuse: circumstances, and every table by columns."""
    tables = dict(found.tables)
    tables["points"] = tables["points"].drop_columns(list(_OF_CELLS))
    return {
        "about": prose.circumstances(found),
        "tables": {name: _columns(table) for name, table in tables.items()},
    }


def _columns(table: pa.Table) -> dict[str, list[Any]]:
    """Columns as plain values; floats with six digits, text without absolute paths."""
    return {name: [_value(v) for v in table[name].to_pylist()] for name in table.column_names}


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return scrub(value) if isinstance(value, str) else value


def _figures(found: Findings) -> dict[str, Any]:
    """Every figure by name and by what is chosen in the page."""
    made: dict[str, dict[str, Figure]] = {"together": {}, "families": {}, "ratios": {}}
    for mode in found.modes:
        for recall in RECALLS:
            comparisons, key = found.of(mode, recall), f"{mode} {recall:g}"
            if comparisons:
                made["together"][key] = heat_map(comparisons, found.cells, together=True)
                made["families"][key] = heat_map(comparisons, found.cells, together=False)
                made["ratios"][key] = ratio_plot(comparisons, found.ours)
    return made | {"curves": _curves(found)}


def _curves(found: Findings) -> dict[str, Figure]:
    made = {}
    for mode in found.modes:
        for family in _families(found):
            cells = [cell for cell in found.cells.values() if cell["family"] == family]
            names = {cell["cell"] for cell in cells}
            points = [p for p in found.measured.points if p["cell"] in names and p["mode"] == mode]
            if points:
                figure = recall_speed(points, cells, found.engines, found.ours)
                made[f"{mode} {family}"] = figure
    return made


def _families(found: Findings) -> list[str]:
    return list(dict.fromkeys(cell["family"] for cell in found.cells.values()))


def _each(found: Findings, make: Any) -> str:
    """What `make(found, mode, recall)` gives for every choice; the page shows one of them."""
    return "".join(
        f'<div data-mode="{mode}" data-recall="{recall:g}">{make(found, mode, recall)}</div>'
        for mode in found.modes
        for recall in RECALLS
    )


def _each_mode(found: Findings, make: Any) -> str:
    return "".join(f'<div data-mode="{mode}">{make(found, mode)}</div>' for mode in found.modes)


def _summary(found: Findings, mode: str, recall: float) -> str:
    lines = found.summaries_of(mode, recall)
    words = f"<p>{_text(prose.headline(found, mode, recall))}</p>"
    return words + (_table(sheets.summary(lines)) if lines else "")


def _ratios(found: Findings, mode: str, recall: float) -> str:
    comparisons = found.of(mode, recall)
    return _table(sheets.ratios(comparisons, found.cells, found.ours)) if comparisons else ""


def _other(found: Findings, mode: str) -> str:
    return _table(sheets.recalls(one for one in found.comparisons if one.mode == mode))


def _engines(found: Findings, mode: str, recall: float) -> str:
    sheet = sheets.engines(
        found.measured, list(found.cells), found.engines, mode, recall, found.problems
    )
    return f"<p>{_text(prose.every_engine(recall))}</p>{_table(sheet)}"


def _wrong(found: Findings) -> str:
    sheet = sheets_run.wrong_answers(found.measured)
    if not sheet.rows:
        return ""
    text = f"<h2>Wrong answers</h2><p>{_text(prose.WRONG)}</p>{_table(sheet)}"
    return f'<section class="wrong">{text}</section>'


def _problems(found: Findings) -> str:
    absent, problems = sheets_run.absent(found.builds), sheets_run.problems(found.problems)
    parts = []
    if absent.rows:
        parts.append(f"<h3>Engines without an index</h3>{_table(absent)}")
    if problems.rows:
        parts.append(f"<h3>Cells that an engine did not answer</h3>{_table(problems)}")
    return "".join(parts) or "<p>None.</p>"


def _table(sheet: Sheet) -> str:
    heads = "".join(_cell("th", head, i >= sheet.words) for i, head in enumerate(sheet.heads))
    rows = []
    for n, row in enumerate(sheet.rows):
        mark = f' data-mark="{_text(sheet.marks[n])}"' if sheet.marks else ""
        texts = "".join(
            _cell("td", text, i >= sheet.words, sheet.heads[i] == "ratio")
            for i, text in enumerate(row)
        )
        rows.append(f"<tr{mark}>{texts}</tr>")
    head = f"<thead><tr>{heads}</tr></thead>" if any(sheet.heads) else ""
    return f'<div class="wide"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _cell(tag: str, text: str, number: bool, ratio: bool = False) -> str:
    kind = " ".join(name for name, on in (("number", number), ("ratio", ratio)) if on)
    of = f' class="{kind}"' if kind else ""
    return f"<{tag}{of}>{_text(text)}</{tag}>"


def _options(choices: Iterable[tuple[str, str]], chosen: str) -> str:
    made = []
    for value, text in choices:
        mark = " selected" if value == chosen else ""
        made.append(f'<option value="{_text(value)}"{mark}>{_text(text)}</option>')
    return "".join(made)


def _text(text: str) -> str:
    return markup.escape(text)


def _json(value: Mapping[str, Any]) -> str:
    """JSON that a script element can hold, whatever text is in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
