"""Filtered indexes judged by oracles: how many times slower, at which recall, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fanns.bench.proofs.asking import Taken
from fanns.bench.proofs.findings import Bar, Finding, at_most, ratio
from fanns.bench.proofs.grid_judged import over_queries
from fanns.bench.proofs.oracle_cells import Kind
from fanns.bench.proofs.oracles import RECALL, K, Measured
from fanns.bench.reporting.ratios import Interval
from fanns.bench.reporting.sheets import Sheet
from fanns.bench.reporting.wording import percent, times
from fanns.bench.running.metrics import recall_interval

SLOWER = 1.3  # at most so many times the oracle's time
SLACK = 0.02  # of recall
NAMES: dict[Kind, str] = {"range": "interval", "label": "value", "both": "interval and value"}
Classes = dict[tuple[Kind, str], list[Measured]]


def judge(
    measured: Sequence[Measured],
    setting: Sequence[str],
    widths: Sequence[float],
    sizes: Sequence[float],
) -> Finding:
    """Every width and size that was asked for has a bar, measured or not. Conjunctions have none
    but that of recall.
    """
    classes: Classes = {}
    for one in measured:
        classes.setdefault((one.cell.kind, one.cell.group), []).append(one)
    wanted: list[tuple[Kind, float]] = [("range", share) for share in widths]
    wanted += [("label", share) for share in sizes]
    bars = [_slower(kind, percent(share), classes) for kind, share in wanted]
    bars += [_recall("fanns under the filter", "filtered", classes)]
    bars += [_recall("the oracles", "oracle", classes)]
    sheets = [("By width and size", _summary(classes)), ("Every filter", _every(measured))]
    return Finding(
        "oracles", "What filters cost, against oracles", [*setting, _METHOD], sheets, bars,
        [_record(one) for one in measured],
    )  # fmt: skip


_METHOD = (
    f"One thread, k = {K}, recall {RECALL:g}. An oracle is an unfiltered fanns index over just the "
    "rows that pass, calibrated on the same sample queries. Times are end to end, the filter's "
    "text and parameters in and ids out, the filter evaluated anew for each query: medians over "
    "interleaved rounds. The ratio of a width or size is that of mean times over its filters and "
    "their queries, with a 95 % interval over filters (over queries where there is one filter)."
)


def slower(group: Sequence[Measured]) -> Interval:
    """How many times slower than its oracles the filtered index is, over a class's filters."""
    if len(group) == 1:
        return over_queries(group[0].filtered.typical, group[0].oracle.typical)
    ours = np.array([one.filtered.typical.mean() for one in group])
    return over_queries(ours, np.array([one.oracle.typical.mean() for one in group]))


def _slower(kind: Kind, group: str, classes: Classes) -> Bar:
    what = f"{NAMES[kind]} of {group} of the rows: time over the oracle's"
    if (kind, group) not in classes:
        why = "no value has about this size" if kind == "label" else "no interval has rows"
        return Bar(what, f"at most {SLOWER:g}x", why, None)
    return at_most(what, slower(classes[kind, group]), SLOWER)


def _recall(who: str, side: str, classes: Classes) -> Bar:
    """The least mean recall of a class."""
    what, least = f"recall@{K} of {who}, in every class", RECALL - SLACK
    if not classes:
        return Bar(what, f"at least {least:g}", "no row passes any filter", None)
    found = {key: _mean_recall(group, side) for key, group in classes.items()}
    (kind, name), worst = min(found.items(), key=lambda item: item[1])
    missed = sum(value < least for value in found.values())
    told = f"worst {worst:.3f} at {NAMES[kind]} of {name}; {missed} classes below"
    return Bar(what, f"at least {least:g}", told, missed == 0)


def _mean_recall(group: Sequence[Measured], side: str) -> float:
    return float(np.mean([_side(one, side).recalls.mean() for one in group]))


def _side(one: Measured, side: str) -> Taken:
    return one.filtered if side == "filtered" else one.oracle


def _summary(classes: Classes) -> Sheet:
    rows = []
    for (kind, name), group in classes.items():
        worst = max(group, key=lambda one: slower([one]).ratio)
        rows.append(
            [
                NAMES[kind], name,
                *(_paths([_side(one, side) for one in group]) for side in ("filtered", "oracle")),
                f"{len(group)}", f"{np.mean([one.matches for one in group]):,.0f}",
                *(f"{_micros(group, side):,.0f}" for side in ("filtered", "oracle")),
                ratio(slower(group)), times(slower([worst]).ratio),
                *(f"{_mean_recall(group, side):.3f}" for side in ("filtered", "oracle")),
            ]
        )  # fmt: skip
    heads = ["by", "share", "path", "oracle's path", "filters", "rows", "us", "oracle us", "ratio"]
    return Sheet([*heads, "worst", "recall", "oracle's recall"], rows, words=4)


def _micros(group: Sequence[Measured], side: str) -> float:
    return float(np.mean([_side(one, side).typical.mean() for one in group])) * 1e6


def _paths(sides: Sequence[Taken]) -> str:
    return "/".join(dict.fromkeys(path for side in sides for path in side.paths))


def _every(measured: Sequence[Measured]) -> Sheet:
    rows = [
        [
            one.cell.where, ", ".join(map(str, one.cell.params.values())),
            *(_paths([side]) for side in (one.filtered, one.oracle)), f"{one.matches:,}",
            *(f"{side.typical.mean() * 1e6:,.0f}" for side in (one.filtered, one.oracle)),
            ratio(slower([one])),
            *(f"{side.recalls.mean():.3f}" for side in (one.filtered, one.oracle)),
        ]
        for one in measured
    ]  # fmt: skip
    heads = ["filter", "parameters", "path", "oracle's path", "rows", "us", "oracle us", "ratio"]
    return Sheet([*heads, "recall", "oracle's recall"], rows, words=4)


def _record(one: Measured) -> dict[str, Any]:
    found = slower([one])
    record: dict[str, Any] = {
        "kind": one.cell.kind, "class": one.cell.group, "where": one.cell.where,
        "params": "; ".join(f"{name}={value}" for name, value in one.cell.params.items()),
        "rows": one.matches, "ratio": found.ratio, "low": found.low, "high": found.high,
    }  # fmt: skip
    for name in ("filtered", "oracle"):
        side = _side(one, name)
        reached = recall_interval(side.recalls)
        record |= {
            f"{name}_us": float(side.typical.mean()) * 1e6, f"{name}_recall": reached.value,
            f"{name}_recall_low": reached.low, f"{name}_recall_high": reached.high,
            f"{name}_paths": "/".join(f"{path}:{count}" for path, count in side.paths.items()),
        }  # fmt: skip
    return record
