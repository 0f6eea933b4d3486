"""The data card of a data set: card.md and its figures, from what the folder holds.

Everything is measured on the files themselves. The same files give the same bytes, but for the
comparison with another data set, which measures speeds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import (
    card_columns,
    card_comparison,
    card_published,
    card_queries,
    card_spectrum,
    dataset,
)
from .card_text import table

CARD, FIGURES = "card.md", "figures"
STAGE = "data card"
Report = Callable[[str, int, int], None]


def write_card(
    folder: str | os.PathLike[str],
    *,
    title: str | None = None,
    omitted: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    reference: str | os.PathLike[str] | None = None,
    report: Report | None = None,
) -> Path:
    """Write card.md and figures/ into the folder of a data set; gives the card's path.

    Args:
        folder: a data set as `dataset.write` leaves it: the manifest is read, not changed.
        title: the card's heading; default: the manifest's source.
        omitted: attributes that the source could not give, and why.
        notes: facts for the head of the card, such as how many records were broken.
        reference: the folder of another data set, or one of papers-*.parquet, that this one should
            look like: they are compared, partly by the clock.
        report: gets STAGE, parts done and parts in all.

    Queries are told apart by the column `set` of queries.parquet, and their selectivity is its
    column `matches` over the rows. Old figures are replaced. Raises DatasetError where the folder
    is no data set, InputError for a reference that cannot be read, MissingDependencyError without
    the extra `datasets` or, for a reference, faiss.
    """
    place = Path(folder)
    manifest = dataset.read_manifest(place)
    if reference is not None:
        card_comparison.check(Path(reference))
    pictures = place / f"{FIGURES}.partial"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir()
    heading = title or str(manifest.get("source") or "A data set")
    parts = [f"# {heading}\n\n{_facts(place, manifest, notes)}"]
    steps = _steps(place, pictures, omitted or {})
    if reference is not None:
        steps["Beside another data set"] = lambda: card_comparison.section(
            place, Path(reference), pictures, FIGURES
        )
    for done, (name, step) in enumerate(steps.items()):
        if report is not None:
            report(STAGE, done, len(steps))
        parts.append(f"## {name}\n\n{step()}")
    shutil.rmtree(place / FIGURES, ignore_errors=True)
    os.replace(pictures, place / FIGURES)
    partial = place / f"{CARD}.partial"
    partial.write_text("\n".join(part.rstrip() + "\n" for part in parts), encoding="utf-8")
    os.replace(partial, place / CARD)
    if report is not None:
        report(STAGE, len(steps), len(steps))
    return place / CARD


def _steps(place: Path, pictures: Path, omitted: Mapping[str, str]) -> dict[str, Callable[[], str]]:
    """The sections by their headings, in their order."""
    items = place / "items.parquet"
    columns = card_columns.read(items)
    rows = columns[0].rows if columns else 0
    return {
        "Attributes": lambda: card_columns.overview(columns) + _omitted(omitted),
        "Histograms": lambda: card_columns.details(columns, pictures, FIGURES),
        "Correlation of attributes": lambda: card_columns.correlations(columns, pictures, FIGURES),
        "Beside the published data set": lambda: card_published.section(items),
        "Queries and filters": lambda: card_queries.section(place, rows, pictures, FIGURES),
        "Spectrum": lambda: card_spectrum.section(items, pictures, FIGURES),
    }


def _facts(place: Path, manifest: dict[str, Any], notes: Sequence[str]) -> str:
    told = [
        f"- {name}: {manifest[key]}"
        for name, key in (("source", "source"), ("vectors by", "model"), ("metric", "metric"))
        if manifest.get(key) is not None
    ]
    if manifest.get("seed") is not None:
        told.append(f"- seed: {manifest['seed']}")
    told += [f"- {note}" for note in (*manifest.get("transforms", ()), *notes)]
    files = [
        (name, one["rows"], (place / name).stat().st_size, one["sha256"][:16])
        for name, one in manifest["files"].items()
    ]
    return (
        "\n".join(told) + "\n\n" + table(("file", "rows", "bytes", "sha256 begins"), files) + "\n"
    )


def _omitted(omitted: Mapping[str, str]) -> str:
    if not omitted:
        return "\n"
    lines = list(omitted.items())
    return f"\n\nAttributes that the source does not have:\n\n{table(('column', 'why'), lines)}\n"
