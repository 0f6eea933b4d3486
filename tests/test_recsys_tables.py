"""Embedding tables: budgets, gradients, and what each kind promises."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import fanns
from fanns.errors import InputError
from fanns.stores_base import NativeStore

torch = pytest.importorskip("torch")

from fanns.datasets import recsys_table_lma as lma  # noqa: E402
from fanns.datasets.recsys_hashing import entries, salted  # noqa: E402
from fanns.datasets.recsys_table import (  # noqa: E402
    EmbeddingTable,
    FrequencyStats,
    frequency_blocks,
)
from fanns.datasets.recsys_table_hashed import Memory, UnifiedTable, salt  # noqa: E402
from fanns.datasets.recsys_table_mixed import MixedTable, budget_widths  # noqa: E402
from fanns.datasets.recsys_table_quotient import QuotientSum, QuotientTable  # noqa: E402
from fanns.datasets.recsys_table_selected import SelectedTable  # noqa: E402
from fanns.datasets.recsys_table_sparse import SparseTable  # noqa: E402
from fanns.datasets.recsys_tables import KINDS, table_for  # noqa: E402

ROWS, DIM = 400, 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tables: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stats(rows: int = ROWS, samples: int = 300) -> FrequencyStats:
    """Rows of which the earlier ones are in more samples, and some in none."""
    random = np.random.default_rng(3)
    counts = (samples * 0.5 / (1 + np.arange(rows)) ** 0.6).astype(np.int64)
    counts[-5:] = 0
    drawn = [np.sort(random.choice(samples, n, replace=False)) for n in counts]
    starts = np.concatenate(([0], np.cumsum(counts)))
    return FrequencyStats.of_columns(starts, np.concatenate(drawn))


def shrunk(table: EmbeddingTable) -> EmbeddingTable:
    """The table as it is after training: pruned where its kind prunes."""
    if isinstance(table, SelectedTable):
        table.prune()
    return table


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_budget_is_kept_and_vectors_have_the_deviation_asked_for(kind: str, share: float) -> None:
    budget = int(share * ROWS * DIM)
    if kind == "full" and share < 1:
        with pytest.raises(InputError, match=r"at least 6,400 numbers, got a budget of"):
            table_for(kind, ROWS, DIM, budget)
        return
    table = table_for(kind, ROWS, DIM, budget, stats(), std=0.05, seed=1)
    assert 0.25 < table.decode().std() / 0.05 < 2
    kept = shrunk(table).num_params
    assert budget / 4 < kept <= budget
    assert (table.rows, table.dim) == (ROWS, DIM)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_table(kind: str) -> None:
    first, again, other = (
        table_for(kind, ROWS, DIM, None, stats(), seed=seed).decode() for seed in (4, 4, 5)
    )
    assert np.array_equal(first, again) and not np.allclose(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_takes_any_shape_and_decode_equals_it(kind: str) -> None:
    table = shrunk(table_for(kind, ROWS, DIM, 2 * ROWS, stats()) if kind != "full" else
                   table_for(kind, ROWS, DIM))  # fmt: skip
    ids = np.random.default_rng(0).integers(0, ROWS, (3, 5))
    made = table(torch.from_numpy(ids)).detach().numpy()
    assert made.shape == (3, 5, DIM) and made.dtype == np.float32
    # Products of other numbers of rows may be summed in another order.
    np.testing.assert_allclose(made, table.decode()[ids], rtol=1e-5, atol=1e-7)
    few = table.decode(ids.reshape(-1))
    np.testing.assert_allclose(made.reshape(-1, DIM), few, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_bring_the_vectors_of_looked_up_rows_where_they_should_be(kind: str) -> None:
    table = table_for(kind, ROWS, DIM, None, stats(), seed=2)
    ids = torch.arange(0, ROWS, 9)
    goal = torch.randn((len(ids), DIM), generator=torch.Generator().manual_seed(0)) * 0.3
    optimizer = torch.optim.Adam(table.parameters(), lr=0.03)
    losses = []
    for step in range(1, 31):
        optimizer.zero_grad()
        loss = (table(ids) - goal).square().mean()
        loss.backward()
        optimizer.step()
        table.after_step(step, optimizer)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] * 0.6
    assert all(p.grad is not None and bool(p.grad.any()) for p in table.parameters()
               if p.shape[0] != 0)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_stores_give_the_vectors_that_were_trained(kind: str) -> None:
    table = shrunk(table_for(kind, ROWS, DIM, None, stats(), seed=3))
    store = table.to_store()
    if not isinstance(store, NativeStore):
        assert kind == "full" and np.array_equal(store, table.decode())
        return
    assert len(store) == ROWS
    assert np.allclose(store.decode(np.arange(ROWS)), table.decode(), atol=1e-6)
    beside = {"quotient-concat": 64, "quotient-add": 64, "quotient-mult": 64, "mixed": 5 * ROWS,
              "lma": 20_000, "sparse": 20 * ROWS, "selected": 20 * ROWS}  # fmt: skip
    assert store.nbytes <= 4 * table.num_params + beside.get(kind, 256)


@pytest.mark.parametrize("kind", ["lma", "mixed", "quotient-add", "sparse", "unified"])
def test_an_index_searches_the_compressed_table_under_a_filter(kind: str) -> None:
    table = shrunk(table_for(kind, ROWS, DIM, ROWS * DIM // 2, stats(), seed=3))
    vectors, random = table.decode().astype(np.float64), np.random.default_rng(1)
    group = random.integers(0, 3, ROWS)
    items = pa.table({"id": np.arange(ROWS), "group": group})
    store = table.to_store()
    assert isinstance(store, NativeStore)
    index = fanns.Index.build(items, vectors=store, metric="ip", calibration="default")
    query = random.normal(size=DIM).astype(np.float32)
    hits = index.search(query, k=5, where="group = 1", exact=True)
    scores = np.where(group == 1, vectors @ query, -np.inf)
    best = np.sort(scores)[::-1][:5]
    assert np.allclose(scores[np.asarray(hits.ids)], best, atol=1e-5)


def test_untouched_rows_of_a_full_table_get_no_gradient() -> None:
    table = table_for("full", 6, 3)
    table(torch.tensor([1, 1, 4])).sum().backward()
    (weight,) = table.parameters()
    assert weight.grad.sum(dim=1).tolist() == [0, 6, 0, 0, 3, 0]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"hashed", "unified", "lma", "sparse"}))
def test_budgets_that_are_too_small_say_what_is_needed(kind: str) -> None:
    with pytest.raises(InputError, match="holds at least"):
        table_for(kind, ROWS, DIM, 3, stats())


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(InputError, match="'cube' is none of full, hashed"):
        table_for("cube", 4, 4)
    for kind in ("mixed", "selected", "lma"):
        with pytest.raises(InputError, match="needs"):
            table_for(kind, ROWS, DIM)
    with pytest.raises(InputError, match="samples"):
        table_for("lma", ROWS, DIM, None, FrequencyStats(np.ones(ROWS, np.int64)))
    with pytest.raises(InputError, match="expected 400 counts"):
        table_for("mixed", ROWS, DIM, None, FrequencyStats(np.ones(3, np.int64)))
    with pytest.raises(InputError, match="at least one row"):
        table_for("full", 0, 4)
    broken = FrequencyStats(np.ones(2, np.int64), np.array([0, 2, 1]), np.array([5]))
    with pytest.raises(InputError, match="ascend"):
        table_for("lma", 2, 4, None, broken)
    with pytest.raises(InputError, match="3 chunks of 2"):
        UnifiedTable(5, 8, Memory(4, 2), chunks=3)


# Quotient-remainder


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 1001])
@pytest.mark.parametrize("kind", ["quotient-concat", "quotient-add", "quotient-mult"])
def test_quotient_rows_are_unique(rows: int, kind: str) -> None:
    table = table_for(kind, rows, 6, 100 + 6 * rows, seed=1)
    assert len(np.unique(table.decode(), axis=0)) == rows


def test_quotients_beyond_what_floats_hold_are_right() -> None:
    """x div m by integers: float32 knows no odd numbers above 2 ** 24."""
    rows = (1 << 24) + 3
    table = QuotientTable(rows, 2, 4099)
    ids = torch.tensor([rows - 1, rows - 2])
    first, second = (p.detach() for p in (table.remainders, table.quotients))
    expected = [[first[x % 4099, 0], second[x // 4099, 0]] for x in ids.tolist()]
    assert torch.equal(table(ids), torch.tensor(expected))


def test_quotient_tables_shrink_to_the_root() -> None:
    table = QuotientSum.for_budget(10_000, 4, 2 * 100 * 4)
    assert table.num_params == 800 and table.buckets == 100
    with pytest.raises(InputError, match="at least 800 numbers"):
        QuotientSum.for_budget(10_000, 4, 799)


# Hashed and unified


def test_hashes_are_those_that_stored_indexes_hold() -> None:
    """Vectors of splitmix64: a change of any bit would lose what was stored."""
    with np.errstate(over="ignore"):
        state = np.uint64(0) + np.uint64(0x9E3779B97F4A7C15)
    assert int(salted(np.array([0]), 0)[0]) != 0
    # The first output of splitmix64 seeded with 0 is the mix of GOLDEN, so of key 0 ^ 0 ...
    assert _splitmix(int(state)) == 0xE220A8397B1DCDAF
    keys = np.array([0, 1, 12345, 2**40 + 7])
    expected = [_splitmix(int(k) ^ _splitmix(9 + int(state))) for k in keys]
    assert salted(keys, 9).tolist() == expected
    assert entries(keys, 9, 1000).tolist() == [(h >> 32) * 1000 >> 32 for h in expected]


def _splitmix(x: int) -> int:
    """The finaliser of splitmix64 in Python's integers."""
    word = 0xFFFFFFFFFFFFFFFF
    x &= word
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & word
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & word
    return x ^ x >> 31


def test_unified_chunks_are_read_from_the_shared_memory() -> None:
    memory = Memory(50, 2)
    users, items = (UnifiedTable(30, 4, memory, feature=f, chunks=2) for f in (0, 1))
    for feature, table in enumerate((users, items)):
        for row in (0, 7, 29):
            places = [int(entries(np.array([row]), salt(feature, j), 50)[0]) for j in (0, 1)]
            expected = memory.weight[places].reshape(-1)
            assert torch.equal(table(torch.tensor(row)), expected)
    assert not torch.equal(users.codes, items.codes)
    assert {id(p) for p in users.parameters()} == {id(p) for p in items.parameters()}
    (users(torch.arange(30)).sum() + items(torch.arange(30)).sum()).backward()
    assert float(memory.weight.grad.sum()) == 2 * 30 * 4


def test_chunks_tell_rows_apart_that_one_hash_would_merge() -> None:
    hashed = table_for("hashed", ROWS, DIM, ROWS * DIM // 10).decode()
    unified = table_for("unified", ROWS, DIM, ROWS * DIM // 10).decode()
    assert len(np.unique(hashed, axis=0)) <= ROWS // 10
    assert len(np.unique(unified, axis=0)) == ROWS


# Mixed dimensions


def test_widths_follow_popularity() -> None:
    sizes, popularity = np.array([10, 20, 70]), np.array([100.0, 10.0, 0.1])
    for budget in (200, 400, 900, 3200):
        widths = budget_widths(sizes, popularity, 32, budget)
        assert all(a >= b for a, b in pairwise(widths))
        assert {w & (w - 1) for w in widths} == {0}
        matrices = sum(32 * w for w in widths if w < 32)
        assert int(sizes @ widths) + matrices <= budget
    assert budget_widths(sizes, popularity, 32, 3200) == (32, 32, 32)
    assert budget_widths(sizes, popularity, 24, 10**6) == (24, 24, 24)


def test_frequent_rows_of_a_mixed_table_are_in_the_wide_block() -> None:
    known = stats()
    table = MixedTable.for_budget(ROWS, DIM, ROWS * DIM // 4, known)
    widths = np.asarray(table.widths)[table.blocks.numpy()]
    assert widths[np.argmax(known.counts)] == max(table.widths) > min(table.widths)
    assert (np.diff(widths[np.argsort(-known.counts, kind="stable")]) <= 0).all()
    row = int(np.argmin(known.counts))
    block, place = int(table.blocks[row]), int(table.places[row])
    expected = table.vectors[block][place] @ table.projections[str(block)]
    assert torch.allclose(table(torch.tensor(row)), expected)


def test_blocks_of_frequencies_have_their_shares() -> None:
    blocks = frequency_blocks(np.arange(10)[::-1].copy(), (0.1, 0.2, 0.7))
    assert blocks.tolist() == [0, 1, 1, 2, 2, 2, 2, 2, 2, 2]


# Learned selection


def test_selection_drops_the_dimensions_that_are_noise() -> None:
    """Four of eight dimensions carry the labels, the others only what training pairs happen to."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(60, 4)).astype(np.float32)
    noise = random.normal(size=(60, 4)).astype(np.float32)
    table = SelectedTable(60, 8, np.repeat([0, 1], 30), 240)
    with torch.no_grad():
        table.weight.copy_(torch.from_numpy(np.concatenate([truth, noise], axis=1)))
    head = torch.ones(8)
    ids = torch.arange(60)
    labels = torch.from_numpy((truth.sum(axis=1) > 0).astype(np.float32))

    def validation() -> object:
        score = table(ids) @ head
        return torch.nn.functional.binary_cross_entropy_with_logits(score, labels)

    table.watch(validation)
    for step in range(1, 300):
        table.after_step(step, None)
    assert table.alpha[:, :4].min() > table.alpha[:, 4:].max()
    assert ((table.alpha >= 0) & (table.alpha <= 1)).all()
    assert table.num_params == 480
    table.after_epoch(table.search_epochs)
    assert [w.tolist() for w in table.widths()] == [[0, 1, 2, 3]] * 2
    assert table.num_params == 240
    assert not table.decode()[:, 4:].any() and table.decode()[:, :4].any(axis=1).all()


def test_alpha_waits_for_the_weights_and_stays_as_pruned() -> None:
    table = SelectedTable(8, 4, np.zeros(8, np.int64), 16, warm_steps=2)
    calls = []

    def validation() -> object:
        calls.append(1)
        return table(torch.arange(8)).square().sum()

    table.watch(validation)
    for step in (1, 2):
        table.after_step(step, None)
    assert not calls and bool((table.alpha == 1).all())
    table.after_step(3, None)
    assert len(calls) == 1 and bool((table.alpha < 1).any())
    table.prune()
    table.after_step(4, None)
    assert len(calls) == 1 and set(table.alpha.reshape(-1).tolist()) == {0.0, 1.0}
    with torch.no_grad():
        table.weight.add_(1.0)
    assert int(np.count_nonzero(table.decode())) == table.num_params == 16


# Locality-sensitive allocation


def pairs_of_sets(overlaps: NDArray[np.float64], size: int = 200) -> FrequencyStats:
    """Rows 2 i and 2 i + 1 hold sets of `size` samples whose Jaccard index is overlaps[i]."""
    starts, samples, used = [0], [], 0
    for overlap in overlaps:
        shared = round(2 * size * overlap / (1 + overlap))
        first = np.arange(used, used + size)
        second = np.arange(used + size - shared, used + 2 * size - shared)
        used += 2 * size
        samples += [first, second]
        starts += [starts[-1] + size, starts[-1] + 2 * size]
    return FrequencyStats.of_columns(np.array(starts), np.concatenate(samples))


def test_cosines_on_random_numbers_follow_the_overlap_of_samples() -> None:
    """No training: rows share numbers as they share samples (J ** PICKS, up to chance)."""
    overlaps = np.repeat([0.0, 0.5, 0.8, 0.95, 1.0], 40)
    known = pairs_of_sets(overlaps)
    table = table_for("lma", len(known.counts), 64, 100_000, known)
    vectors = table.decode()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit[::2] * unit[1::2]).sum(axis=1).reshape(5, 40).mean(axis=1)
    chance = 1 / 16  # of four bits to agree where the minhashes do not
    expected = (np.unique(overlaps) * (1 - chance) + chance) ** lma.PICKS
    assert np.abs(cosines - expected).max() < 0.08
    assert (np.diff(cosines) > 0).all()


def test_minhashes_agree_as_often_as_samples_are_shared() -> None:
    known = pairs_of_sets(np.full(60, 0.6))
    assert known.starts is not None and known.samples is not None
    made = lma.signatures(known.starts, known.samples)
    nibbles = (made[:, None] >> np.arange(0, 64, 4, dtype=np.uint64)) & np.uint64(15)
    agreed = float((nibbles[::2] == nibbles[1::2]).mean())
    assert abs(agreed - (0.6 * 15 / 16 + 1 / 16)) < 0.05


def test_rare_rows_are_placed_at_random_and_all_places_exist() -> None:
    known = FrequencyStats.of_columns(np.array([0, 1, 2, 2, 8, 14]), np.r_[7, 7, 1:7, 1:7])
    table = table_for("lma", 5, 32, 50, known)
    assert isinstance(table, lma.LocalityTable)
    assert table.known.tolist() == [False, False, False, True, True]
    places = table.places.numpy()
    assert places.min() >= 0 and places.max() < 50
    assert np.array_equal(places[3], places[4])  # of the same samples
    assert (places[0] == places[1]).mean() < 0.5  # of one sample: too rare to share


def test_samples_of_a_frequent_row_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lma, "SAMPLES", 8)
    starts = np.array([0, 100, 103, 203])
    samples = np.concatenate([np.arange(100), [1, 2, 3], np.arange(100)])
    made = lma.signatures(starts, samples)
    assert made[0] == made[2]
    monkeypatch.undo()
    assert made[1] == lma.signatures(starts, samples)[1]


# Dynamic sparsity


def trained_sparse(table: SparseTable, steps: int, goal: object) -> None:
    optimizer = torch.optim.Adam(table.parameters(), lr=0.05)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        (table(torch.arange(table.rows)) - goal).square().mean().backward()
        optimizer.step()
        table.after_step(step, optimizer)
        assert int(np.count_nonzero(table.decode())) <= table.alive
        assert int(table.mask.sum()) == table.alive


def test_density_is_held_and_entries_move_to_where_they_are_needed() -> None:
    """The goal fills two of eight columns; a mask of a quarter drawn at random must find them."""
    goal = torch.zeros((30, 8))
    goal[:, [2, 5]] = 1.0
    table = SparseTable(30, 8, 60, period=5, horizon=200)
    assert int(table.mask[:, [2, 5]].sum()) < 30
    trained_sparse(table, 200, goal)
    assert int(table.mask[:, [2, 5]].sum()) >= 58


def test_the_share_that_moves_falls_to_nothing() -> None:
    table = SparseTable(10, 8, 20, period=5, horizon=100)
    shares = [table.share(step) for step in (0, 25, 50, 75, 99, 100)]
    assert shares[0] == 0.5 and shares[-1] == 0.0 and 0.005 <= shares[-2] < 0.01
    assert all(a > b for a, b in pairwise(shares))
    trained_sparse(table, 99, torch.ones((10, 8)))
    before = table.mask.clone()
    table.weight.grad.uniform_()
    table.after_step(105, torch.optim.Adam(table.parameters()))
    assert torch.equal(before, table.mask)


def test_entries_that_are_grown_anew_remember_nothing() -> None:
    table = SparseTable(20, 4, 20, period=1, horizon=100)
    optimizer = torch.optim.Adam(table.parameters(), lr=0.1)
    for step in (1, 2, 3):
        before = table.mask.clone()
        optimizer.zero_grad()
        (table(torch.arange(20)) - 1).square().sum().backward()
        optimizer.step()
        table.after_step(step, optimizer)
        grown = table.mask & ~before
        assert grown.any() and not table.weight.detach()[grown].any()
        for name in ("exp_avg", "exp_avg_sq"):
            assert not optimizer.state[table.weight][name][grown].any()
