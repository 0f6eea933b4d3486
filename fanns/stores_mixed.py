"""Mixed dimensions: blocks of rows with widths of their own, and a way up to all dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fanns.errors import InputError
from fanns.kernels.jit import Array
from fanns.kernels.stores import BLOCK_HEAD, BLOCK_NUMBERS, MIXED
from fanns.stores_base import NativeStore, accept_table, longest

Block = tuple[npt.ArrayLike, npt.ArrayLike | None]


class MixedDimension(NativeStore):
    """Row x of block b is e_x P_b, with e_x of the block's own width d_b (Ginart et al. 2019,
    "Mixed dimension embeddings with application to memory-efficient recommendation systems").

    Under ip a query is multiplied by each P_b once, and rows are compared in d_b dimensions.
    """

    kind = MIXED
    name = "mixed_dimension"

    def __init__(self, blocks: Sequence[Block], order: npt.ArrayLike | None = None) -> None:
        """Hold blocks of rows.

        Args:
            blocks: pairs (table [n_b, d_b], projection [d_b, d]); None for a projection means the
                table's own d_b = d dimensions.
            order: the place of each row in the blocks, end to end (int32[rows]): 4 bytes a row;
                None where rows stand in the order of the blocks.

        Raises:
            InputError: no blocks, shapes that do not fit, places that no block has, NaN, infinity.
        """
        if not isinstance(blocks, Sequence) or not blocks:
            raise InputError("blocks: expected at least one (table, projection)")
        numbers, values, projections, reach = [len(blocks), 0], [], [], 0.0
        places = starts = begun = d = 0
        for at, block in enumerate(blocks):
            if not isinstance(block, tuple | list) or len(block) != 2:
                raise InputError(f"block {at}: expected a pair (table, projection)")
            table = accept_table(block[0], f"the table of block {at}")
            width, own, most = table.shape[1], table.shape[1], longest(table)
            numbers += [places, starts, width, -1 if block[1] is None else begun]
            if block[1] is not None:
                projection = accept_table(block[1], f"the projection of block {at}")
                if len(projection) != width:
                    raise InputError(
                        f"block {at}: a table of width {width} and a projection of "
                        f"{len(projection)} rows"
                    )
                own = projection.shape[1]
                most *= float(np.linalg.norm(projection.astype(np.float64), 2)) * (1 + 1e-9)
                projections.append(projection.reshape(-1))
                begun += projection.size
            d = d or own
            if own != d:
                raise InputError(f"block {at} has {own} dimensions, block 0 has {d}")
            values.append(table.reshape(-1))
            places, starts, reach = places + len(table), starts + table.size, max(reach, most)
        numbers[1] = d
        arrays: dict[str, Array] = {
            "numbers": np.array(numbers, np.int64),
            "first": np.concatenate(values),
        }
        if projections:
            arrays["second"] = np.concatenate(projections)
        if order is not None:
            arrays["codes"] = _accept_order(order, places)
        self._hold(places if order is None else len(arrays["codes"]), d, reach, arrays)

    def _check(self) -> None:
        numbers, first, second, codes, _ = self.held
        blocks = int(numbers[0]) if len(numbers) else 0
        if blocks < 1 or len(numbers) != BLOCK_HEAD + BLOCK_NUMBERS * blocks:
            raise InputError(f"{self.name}: {len(numbers)} numbers of blocks")
        if int(numbers[1]) != self.d:
            raise InputError(f"{self.name}: blocks of {numbers[1]} dimensions, not {self.d}")
        places = starts = begun = 0
        table = numbers[BLOCK_HEAD:].reshape(blocks, BLOCK_NUMBERS).tolist()
        for at, (place, start, width, projection) in enumerate(table):
            end = table[at + 1][1] if at + 1 < blocks else len(first)
            good = place == places and start == starts and width > 0 and end > start
            good = good and (end - start) % max(width, 1) == 0
            good = good and (width == self.d if projection < 0 else projection == begun)
            if not good:
                raise InputError(f"{self.name}: block {at} does not fit its table")
            begun += width * self.d if projection >= 0 else 0
            places, starts = places + (end - start) // width, end
        if begun != len(second):
            raise InputError(f"{self.name}: {len(second)} values of projections, not {begun}")
        if not codes.size and places == self.n:
            return
        good = codes.shape == (self.n, 1) and codes.dtype == np.int32
        if not good or (self.n and (codes.min() < 0 or codes.max() >= places)):
            raise InputError(f"{self.name}: order: not {self.n} places of {places}")

    @property
    def rounds(self) -> bool:
        return bool(self.held[2].size)

    @property
    def widths(self) -> list[int]:
        """The width of each block."""
        return [int(width) for width in self.held[0][BLOCK_HEAD + 2 :: BLOCK_NUMBERS]]


def _accept_order(order: npt.ArrayLike, places: int) -> npt.NDArray[np.int32]:
    given = np.asarray(order)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise InputError(f"order: expected whole numbers [rows], got {given.dtype}{given.shape}")
    if given.size and (int(given.min()) < 0 or int(given.max()) >= places):
        raise InputError(f"order: the blocks have places 0..{places - 1}")
    return given.astype(np.int32).reshape(-1, 1)
