"""Which path answers a query over a native store: the one with the least predicted cost.

The scan and the product keys are exact, and what they cost follows from how many rows pass. Paths
over stand-ins, where a segment has them, are planned as those of any segment (`planner.choose`).
"""

from __future__ import annotations

from dataclasses import replace

from fanns.paths.native import Offer
from fanns.planner import Lost, Plan

PATHS = ("native", "keys", "clusters", "graph")
PAIRS_NS = 400.0
"""What the comparison of one row of a shortlist of stand-ins costs."""


def choose_native(
    scan: Offer,
    keys: Offer | str,
    stand_ins: Plan | str,
    shortlist: int,
    only: str | None,
    exact: bool,
) -> Plan:
    """The plan for the passing rows.

    Args:
        scan, keys: what the paths offer, or why there are no product keys.
        stand_ins: the plan over stand-ins for a shortlist of that many rows, or why there is none.
        only: leaves the choice to the caller ("scan" is the native scan), where it has it.
        exact: stand-ins cannot prove an answer.
    """
    wanted = "native" if only == "scan" else only
    native = Plan("native", "native scan", *scan)
    plans, lost = [native], list[Lost]()
    if isinstance(keys, str):
        lost.append(("product keys", None, keys))
    else:
        plans.append(Plan("keys", "product keys", *keys, fallback=native))
    if isinstance(stand_ins, str):
        lost.append(("stand-ins", None, stand_ins))
    elif exact:
        lost.append(("stand-ins", None, "cannot prove exactness"))
    elif stand_ins.path == "scan":
        lost += [one for one in stand_ins.rejected if one[0] != "scan"]
    else:
        lost += [one for one in stand_ins.rejected if not one[0].startswith("scan")]
        more = stand_ins.predicted_ns + shortlist * PAIRS_NS
        plans.append(replace(stand_ins, predicted_ns=more, fallback=native, rejected=()))
    allowed = [plan for plan in plans if wanted in (None, plan.path)] or [native]
    best = min(allowed, key=lambda plan: plan.predicted_ns)
    for plan in plans:
        if plan is not best:
            fits = wanted is None or plan.path == wanted
            lost.append((plan.label, plan.predicted_ns, "costs more" if fits else "not asked for"))
    reason = "asked for" if best.path == wanted else best.reason
    return replace(best, reason=reason, rejected=tuple(lost))
