"""Which queries of a batch a launch answers, and which bitmap each has, told on the device alone.

How a query is best answered depends on how many rows pass its filter, and where every query has a
filter of its own only the device knows these counts when a batch begins. So no one waits for them:
`assign_plans` gives each query the number of its plan, every plan is launched for the whole batch,
and blocks of queries that have another plan leave at once. `fall_back` then gives queries that are
not answered yet another plan.

Queries under equal filters share a bitmap, which is made once: 10,000 queries of 200 tenants have
200. A query's own is `bitmap_of`.

A `Turn` is held by the workspace (`Workspace.only`, `Workspace.owned`), as the stream is: kernels
that write answers look at it, and without one all queries are answered.
"""

from __future__ import annotations

from typing import Any

from fanns.kernels.jit import Array, Integer
from fanns.kernels.jit_cuda import DeviceArray, Turn, Workspace, cuda, inner, kernel


@inner
def skipped(turn: Turn, number: Integer) -> Any:
    """Whether a query is answered by another launch."""
    return turn.plans.shape[0] > 0 and turn.plans[number] != turn.plan


@inner
def all_skipped(turn: Turn, first: Integer, stop: Integer) -> Any:
    """Whether the queries first <= i < stop all are."""
    for number in range(first, stop):  # noqa: SIM110 - numba compiles no generators
        if not skipped(turn, number):
            return False
    return True


@inner
def bitmap_of(turn: Turn, bitmaps: Integer, number: Integer) -> Any:
    """Which of so many bitmaps, or of their counts, a query has."""
    if turn.owners.shape[0] > 0:
        return turn.owners[number]
    return number if bitmaps > 1 else 0


@kernel
def _assign(turn: Turn, counts: Array, least: Array, plans: Array, work: Array) -> None:
    """A thread a query."""
    number = cuda.grid(1)
    if number < plans.shape[0]:
        count = counts[bitmap_of(turn, counts.shape[0], number)]
        plan = 0
        while plan + 1 < least.shape[0] and least[plan + 1] <= count:
            plan += 1
        plans[number] = plan
        for column in range(work.shape[1]):
            work[number, column] = 0


def assign_plans(
    counts: DeviceArray,
    least: DeviceArray,
    plans: DeviceArray,
    work: DeviceArray,
    workspace: Workspace,
) -> None:
    """plans int8[m] = the last plan of which least[plan] <= the count of the query.

    counts int64[s] of the bitmaps of queries; least int64[p], ascending, least[0] = 0. The work
    int64[m, 4] of all is set to none.
    """
    blocks = -(-plans.shape[0] // workspace.threads)
    workspace.launch(_assign, blocks, workspace.turn, counts, least, plans, work)


@kernel
def _fall_back(status: Array, unanswered: int, plan: int, plans: Array) -> None:
    """A thread a query."""
    number = cuda.grid(1)
    if number < plans.shape[0] and status[number] == unanswered:
        plans[number] = plan


def fall_back(
    status: DeviceArray, unanswered: int, plan: int, plans: DeviceArray, workspace: Workspace
) -> None:
    """Give queries of this status int8[m] another plan, in plans int8[m]."""
    blocks = -(-plans.shape[0] // workspace.threads)
    workspace.launch(_fall_back, blocks, status, unanswered, plan, plans)


@kernel
def _add_work(plans: Array, plan: int, before: Array, work: Array) -> None:
    """A thread a query."""
    number = cuda.grid(1)
    if number < plans.shape[0] and plans[number] == plan:
        for column in range(work.shape[1]):
            work[number, column] += before[number, column]


def add_work(
    plans: DeviceArray, plan: int, before: DeviceArray, work: DeviceArray, workspace: Workspace
) -> None:
    """Add what was done before, int64[m, 4], to the work of queries that have this plan."""
    blocks = -(-plans.shape[0] // workspace.threads)
    workspace.launch(_add_work, blocks, plans, plan, before, work)
