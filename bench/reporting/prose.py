"""A run's report in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fanns.bench.reporting import sheets, sheets_run
from fanns.bench.reporting.ratios import ALL
from fanns.bench.reporting.report import RECALL, Findings
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import mode_name, scrub, scrubbed

WRONG = (
    "These engines returned rows that fail the filter, or that are no rows at all. Such points "
    "take no part in the ratios."
)
METHOD = (
    "An engine stands for itself with its fastest setting that reached the recall, of those that "
    "its sweep tried; the best peer is the fastest of all other engines. Oracles, which know the "
    "filter beforehand, are shown apart and are no peers.",
    "A ratio above 1 says that {ours} is faster. Its interval (95 %) is a t interval over the "
    "logarithms of the ratios in paired rounds: all engines take turns in an order by chance, and "
    "answer queries of the same random part in a round, as many of it as their time allows. "
    "Faster and slower are said only where the interval leaves out 1. The ratio is the geometric "
    "mean over rounds, and may differ a little from that of the two rates.",
    "End to end includes binding the parameters and evaluating the filter; with prepared filters "
    "the engine's own form of the filter exists before the clock starts. End to end no engine may "
    "remember a filter that it has seen.",
    "Recall is the share of true neighbours found, of min(k, matches), ties admitted, with "
    "distances recomputed in float64; it is printed rounded down.",
    "Rows passing is the mean share of rows that pass the filter. Affinity, from -1 to 1, says "
    "whether the rows near a query pass more often (above 0) or less often (below 0) than others.",
    "Rates are of single queries, one after another on each thread.",
)


def markdown(found: Findings) -> str:
    """The whole report. Holds no absolute paths."""
    workload = found.header.get("workload", {})
    parts = [f"# Filtered vector search measured: {workload.get('name', 'a run')}", setting(found)]
    parts += [f"**Note.** {note}" for note in notes(found)]
    parts += _wrong(found)
    parts += ["## Summary", *_headlines(found)]
    for mode in found.modes:
        parts += _mode(found, mode)
    parts += ["## Builds and memory", table(sheets_run.builds(found.builds, found.raw))]
    parts += _problems(found)
    parts += ["## Cells", table(sheets.cells(found.cells.values()))]
    parts += ["## Method", "\n".join(f"- {text.format(ours=found.ours)}" for text in METHOD)]
    parts += ["## Machine, versions, configuration", table(sheets_run.facts(circumstances(found)))]
    return "\n\n".join(parts) + "\n"


def setting(found: Findings) -> str:
    """What was measured, in one sentence."""
    workload, config = found.header.get("workload", {}), found.header.get("config", {})
    threads = config.get("threads", 1)
    return (
        f"{workload.get('rows', 0):,} vectors of {workload.get('dims', '?')} dimensions, "
        f"{workload.get('metric', '?')}; k = {config.get('k', '?')}; "
        f"{_count(threads, 'thread')}; {_count(len(found.cells), 'cell')}; "
        f"measured {str(found.header.get('started', ''))[:10] or 'at an unknown date'}."
        f"{_machine(found.header.get('machine', {}))}"
    )


def _machine(told: Mapping[str, Any]) -> str:
    """The machine in a sentence; what is not known of it is left out."""
    cpu, load = _part(told, "cpu"), _part(told, "load").get("averages_1_5_15_minutes")
    memory = _part(told, "memory").get("total_bytes")
    parts = [
        cpu.get("model"),
        f"{cpu['usable_cores']} cores" if cpu.get("usable_cores") else None,
        f"{memory / 2**30:.0f} GiB of memory" if memory else None,
        f"a load of {load[0]:.1f} before the run began" if load else None,
    ]
    said = [part for part in parts if part]
    return f" Machine: {', '.join(said)}." if said else ""


def _part(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = told.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def notes(found: Findings) -> list[str]:
    """What a reader must know of this run before its numbers."""
    made = [scrub(note) for note in found.header.get("notes", [])]
    measured = {cell for cell, _ in found.measured.places}
    if missing := [cell for cell in found.cells if cell not in measured]:
        made.insert(0, f"Without any point: {', '.join(missing)}.")
    if not found.header.get("complete", True):
        made.insert(0, "This run is not complete: what follows is what was measured so far.")
    return made


def circumstances(found: Findings) -> dict[str, object]:
    """The machine, versions and configuration of the run, without absolute paths."""
    names = (
        "workload", "machine", "pinned", "versions", "config", "command", "started", "finished",
        "seconds",
    )  # fmt: skip
    made = {name: found.header[name] for name in names if found.header.get(name) is not None}
    plain: dict[str, object] = scrubbed(made)
    return plain


def headline(found: Findings, mode: str, recall: float) -> str:
    """How many cells were won and lost, in words."""
    totals = [one for one in found.summaries_of(mode, recall) if one.family == ALL]
    if not totals:
        return f"{found.ours} was not measured with {mode_name(mode)}: there are no ratios."
    return sheets.sentence(totals[0], found.ours)


def _headlines(found: Findings) -> Iterable[str]:
    for mode in found.modes:
        yield headline(found, mode, RECALL)
        if lines := found.summaries_of(mode, RECALL):
            yield table(sheets.summary(lines))


def _mode(found: Findings, mode: str) -> list[str]:
    """The tables of one mode: ratios, ratios at other recalls, every engine."""
    parts = [f"## Every cell, {mode_name(mode)}"]
    if comparisons := found.of(mode, RECALL):
        parts += [
            f"At recall {RECALL:g}:",
            table(sheets.ratios(comparisons, found.cells, found.ours)),
            "The ratio at each recall, and the best peer there:",
            table(sheets.recalls(one for one in found.comparisons if one.mode == mode)),
        ]
    every = sheets.engines(
        found.measured, list(found.cells), found.engines, mode, RECALL, found.problems
    )
    return [*parts, every_engine(RECALL), table(every)]


def every_engine(recall: float) -> str:
    return (
        f"Queries per second of every engine at recall {recall:g}. R is the best recall of one "
        "that did not reach it."
    )


def _wrong(found: Findings) -> list[str]:
    sheet = sheets_run.wrong_answers(found.measured)
    if not sheet.rows:
        return []
    return [f"**Wrong answers.** {WRONG}", table(sheet)]


def _problems(found: Findings) -> list[str]:
    parts = ["## Problems"]
    absent, problems = sheets_run.absent(found.builds), sheets_run.problems(found.problems)
    if absent.rows:
        parts += ["Engines without an index:", table(absent)]
    if problems.rows:
        parts += ["Cells that an engine did not answer:", table(problems)]
    return parts if len(parts) > 1 else [*parts, "None."]


def table(sheet: Sheet) -> str:
    """A Markdown table; numbers to the right, lost cells in bold."""
    line = ["---" if i < sheet.words else "---:" for i in range(len(sheet.heads))]
    rows = [list(map(_cell, sheet.heads)), line]
    for i, row in enumerate(sheet.rows):
        texts = [_cell(text) for text in row]
        if sheet.marks and sheet.marks[i] in ("slower", "not reached"):
            texts = [f"**{text}**" if head == "ratio" else text
                     for head, text in zip(sheet.heads, texts, strict=True)]  # fmt: skip
        rows.append(texts)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
