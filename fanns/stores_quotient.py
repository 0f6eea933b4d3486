"""Quotient-remainder tables: two small tables whose rows make a vector for every row number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.jit import Array
from fanns.kernels.stores import ADD, CONCAT, MULT, QUOTIENT
from fanns.stores_base import NativeStore, accept_table, longest, whole

OPS = {"concat": CONCAT, "add": ADD, "mult": MULT}


class QuotientRemainder(NativeStore):
    """Row x is op(W1[x mod m], W2[x div m]) (Shi et al. 2020, "Compositional embeddings using
    complementary partitions").

    Two rows differ in at least one of the halves. Sums of half scores rank the rows of `concat`
    under ip and l2 and of `add` under ip, so that product-key search finds their exact nearest
    among all without looking at each; the others are scanned.

    Attributes:
        op: "concat", "add" or "mult".
        tables: W1 float32[m, d_1] and W2 float32[c, d_2], c >= ceil(rows / m).
    """

    kind = QUOTIENT
    name = "quotient_remainder"

    def __init__(
        self, tables: tuple[npt.ArrayLike, npt.ArrayLike], rows: int, op: str = "concat"
    ) -> None:
        """Hold two tables (not copied where they are float32).

        Args:
            tables: W1 [m, d_1], by remainder, and W2 [c, d_2], by quotient; d_1 = d_2 for "add"
                and "mult".
            rows: how many there are, at most m c.
            op: how a row is put together.

        Raises:
            InputError: tables that do not fit together, too few quotients, NaN or infinity.
        """
        if op not in OPS:
            raise InputError(f"op is {op!r}, expected one of {', '.join(OPS)}")
        if not isinstance(tables, tuple | list) or len(tables) != 2:
            raise InputError("tables: expected two, (W1 by remainder, W2 by quotient)")
        first, second = accept_table(tables[0], "W1"), accept_table(tables[1], "W2")
        (m, a), (c, b) = first.shape, second.shape
        n = whole(rows, "rows", 0)
        if op != "concat" and a != b:
            raise InputError(f"{op} needs tables of one width, got {a} and {b}")
        if n > m * c:
            raise InputError(f"{n:,} rows need {-(-n // m):,} quotients, W2 has {c:,}")
        numbers = np.array([OPS[op], m, a, b], np.int64)
        arrays: dict[str, Array] = {
            "numbers": numbers,
            "first": first.reshape(-1),
            "second": second.reshape(-1),
        }
        self._hold(n, a + b if op == "concat" else a, _reach(first, second, op), arrays)

    def _check(self) -> None:
        numbers, first, second, *_ = self.held
        if len(numbers) != 4 or int(numbers[0]) not in OPS.values() or numbers[1:].min() < 1:
            raise InputError(f"{self.name}: numbers are {numbers.tolist()}")
        op, m, a, b = numbers.tolist()
        good = len(first) == m * a and len(second) % b == 0 and self.n <= m * (len(second) // b)
        good = good and (a + b == self.d if op == CONCAT else a == b == self.d)
        if not good:
            raise InputError(f"{self.name}: tables do not fit {self.n} rows x {self.d}")

    @property
    def op(self) -> str:
        return list(OPS)[int(self.held[0][0])]

    @property
    def rounds(self) -> bool:
        return self.op != "concat"

    @property
    def tables(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """W1 and W2, read-only."""
        numbers, first, second, *_ = self.held
        return first.reshape(-1, int(numbers[2])), second.reshape(-1, int(numbers[3]))


def _reach(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], op: str) -> float:
    """No row of two tables is longer."""
    if op == "concat":
        return float(np.hypot(longest(first), longest(second)))
    if op == "add":
        return longest(first) + longest(second)
    return longest(first) * float(np.abs(second).max())
