"""Click models on planted data: each beats logistic regression, by what it is made for."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from fanns.errors import InputError

torch = pytest.importorskip("torch")

from fanns.datasets import recsys_planted as planted  # noqa: E402
from fanns.datasets.recsys_autoint import AutoInt  # noqa: E402
from fanns.datasets.recsys_crosses import Crosses  # noqa: E402
from fanns.datasets.recsys_ctr import (  # noqa: E402
    ClickModel,
    Clicks,
    Logistic,
    fit_clicks,
    measure,
    predict,
)
from fanns.datasets.recsys_ctr_metrics import auc  # noqa: E402
from fanns.datasets.recsys_din import Dice, Din, with_histories  # noqa: E402
from fanns.datasets.recsys_fgcnn import Fgcnn  # noqa: E402
from fanns.datasets.recsys_field_embedding import (  # noqa: E402
    FieldEmbedding,
    compressed,
    unified,
)
from fanns.datasets.recsys_fields import Field, encode, fit_fields  # noqa: E402
from fanns.datasets.recsys_optinter import OptInter  # noqa: E402
from fanns.datasets.recsys_table import FrequencyStats  # noqa: E402
from fanns.datasets.recsys_tables import KINDS  # noqa: E402
from fanns.datasets.recsys_trainer import Training  # noqa: E402

Floats = NDArray[np.float64]
ITEMS = ["item", "kind"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parts(made: planted.Planted, train: int) -> tuple[list[Field], Clicks, Clicks]:
    fields = fit_fields(made.table.slice(0, train))
    return (
        fields,
        Clicks.of(fields, made.table.slice(0, train), made.labels[:train]),
        Clicks.of(fields, made.table.slice(train), made.labels[train:]),
    )


def fitted(
    model: ClickModel, train: Clicks, valid: Clicks, epochs: int = 8, batch: int = 256
) -> float:
    """AUC of a model after training on few batches."""
    training = Training(lr=5e-3, batch=batch, epochs=epochs, eval_every=epochs)
    fit_clicks(model, train, valid, training)
    return measure(model, valid)["auc"]


@cache
def interactions() -> tuple[list[Field], Clicks, Clicks, float]:
    """Interactions of second and third order, and the AUC of logistic regression on them."""
    fields, train, valid = parts(planted.interactions(10_000, seed=1), 8000)
    plain = fitted(Logistic(fields), train, valid, 2)
    assert 0.45 < plain < 0.6
    return fields, train, valid, plain


# Models


def test_autoint_finds_interactions_that_logistic_regression_cannot() -> None:
    fields, train, valid, plain = interactions()
    model = AutoInt(fields, 8, layers=2, units=16, std=0.1)
    assert fitted(model, train, valid) > plain + 0.2


@pytest.mark.slow
def test_autoint_with_a_network_beside_it_does_as_well() -> None:
    fields, train, valid, plain = interactions()
    model = AutoInt(fields, 8, layers=2, units=16, deep=(32,), dropout=0.05, std=0.1)
    assert fitted(model, train, valid) > plain + 0.2


def test_attention_is_a_share_for_every_pair_of_fields() -> None:
    fields, _, valid, _ = interactions()
    told = AutoInt(fields, 8, layers=2, units=16, std=0.5).attention(valid.columns)
    assert len(told) == len(fields) ** 2
    sums = pa.TableGroupBy(told, "field").aggregate([("weight", "sum")])
    assert np.allclose(sums["weight_sum"], 1.0)
    weights = np.asarray(told["weight"])
    assert (np.diff(weights) <= 0).all() and weights.min() >= 0


def test_attention_goes_to_the_field_that_is_alike() -> None:
    """Weights by hand: queries and keys are the vectors, so that like fields find each other."""
    table = pa.table({"a": [0, 1], "b": [0, 1], "c": [0, 1]})
    fields = fit_fields(table)
    model = AutoInt(fields, 2, layers=1, units=2, heads=1)
    layer = model.layers[0]
    with torch.no_grad():
        for linear in (layer.query, layer.key):
            linear.weight.copy_(torch.eye(2) * 6)
            linear.bias.zero_()
        for name, vector in (("a", [1.0, 0.0]), ("b", [1.0, 0.0]), ("c", [0.0, 1.0])):
            model.embedding.table(name).weight.copy_(torch.tensor([vector] * 3))
    told = model.attention(encode(fields, table)).to_pylist()
    weights = {(row["field"], row["other"]): row["weight"] for row in told}
    assert weights["a", "b"] > 0.49 and weights["c", "c"] > 0.99 and weights["a", "c"] < 0.01


def test_fgcnn_beats_logistic_regression() -> None:
    fields, train, valid, plain = interactions()
    model = Fgcnn(fields, 8, channels=(4,), kernels=(3,), layers=(32,), std=0.1)
    assert fitted(model, train, valid, 5) > plain + 0.2


def test_generated_features_carry_the_local_pattern() -> None:
    """What the generator learns from labels tells where the pattern stands: a straight line
    through its features explains more of each place than one through the raw vectors.
    """
    made = planted.neighbours(10_000, seed=1)
    fields, train, valid = parts(made, 8000)
    plain = fitted(Logistic(fields), train, valid, 2)
    model = Fgcnn(
        fields, 8, channels=(4,), kernels=(3,), recombine=1, layers=(16,), std=0.1
    )  # fmt: skip
    assert fitted(model, train, valid) > plain + 0.15
    signs = np.stack([np.asarray(made.table[f.name]) for f in fields], axis=1)[8000:] % 2 * 2 - 1
    pattern = (signs[:, :-2] > 0) & (signs[:, 1:-1] < 0) & (signs[:, 2:] > 0)
    with torch.no_grad():
        new = model.generated(valid.columns).flatten(1).numpy()
        raw = model.embedding(valid.columns).flatten(1).numpy()
    told, before = explained(new, pattern), explained(raw, pattern)
    assert (told > before + 0.1).all() and told.mean() > 0.6


def explained(features: Floats, goal: NDArray[np.bool_]) -> Floats:
    """R2 on the second half of linear regressions fitted to the first."""
    inputs = np.c_[features, np.ones(len(features))].astype(np.float64)
    wanted, half = goal.astype(np.float64), len(goal) // 2
    weights = np.linalg.lstsq(inputs[:half], wanted[:half], rcond=None)[0]
    left = wanted[half:] - inputs[half:] @ weights
    spread = wanted[half:] - wanted[half:].mean(axis=0)
    return np.asarray(1 - (left**2).sum(axis=0) / (spread**2).sum(axis=0))


def search(seed: int, epochs: int) -> tuple[dict[tuple[str, str], str], float, float]:
    """Methods that a search finds for planted pairs, and the AUC retrained and of plain logistic
    regression."""
    fields, train, valid = parts(planted.pairs(10_000, values=16, seed=seed), 8000)
    crosses = Crosses(fields, train.columns, least=5)
    model = OptInter(
        fields, crosses, 8, width=2, layers=(), price=0.02, cooling=0.002, warm_steps=100,
        cross_decay=0.0, std=0.1,
    )  # fmt: skip
    training = Training(batch=256, epochs=epochs)
    fit_clicks(model, train, None, training, optimizer=model.optimizer(5e-3, 1e-2))
    told = model.report()
    assert told.column_names == ["field", "other", "method", "memorise", "factorise", "drop"]
    found = model.found()
    again = OptInter(fields, crosses, 8, width=2, layers=(), choice=found, std=0.1)
    assert len(again.memories) == sum(method == "memorise" for method in found.values())
    better = fitted(again, train, valid, 6)
    return found, better, fitted(Logistic(fields), train, valid, 2)


PAIRS = {
    ("a", "b"): "memorise",
    ("a", "c"): "drop",
    ("a", "d"): "drop",
    ("b", "c"): "drop",
    ("b", "d"): "drop",
    ("c", "d"): "factorise",
}


def test_optinter_finds_the_method_of_each_pair() -> None:
    """Arbitrary effects of a x b are memorised, products of c and d factorised."""
    found, better, plain = search(1, 10)
    assert found == PAIRS
    assert better > plain + 0.15


@pytest.mark.slow
def test_optinter_finds_the_methods_whatever_the_seed() -> None:
    right = [search(seed, 14)[0][pair] == PAIRS[pair] for seed in (2, 3, 4) for pair in PAIRS]
    assert sum(right) >= len(right) - 1


def test_rare_pairs_of_values_share_a_row_and_memories_may_be_compressed() -> None:
    table = pa.table({"a": [0] * 5 + [1] * 3 + [2], "b": [0] * 5 + [1] * 3 + [0]})
    fields = fit_fields(table)
    columns = encode(fields, table)
    crosses = Crosses(fields, columns, least=3, kind="unified", share=0.5)
    assert crosses.ids("a", "b", columns).tolist() == [1] * 5 + [2] * 3 + [0]
    assert crosses.rows("a", "b") == 3
    new = encode(fields, pa.table({"a": [1, 9, None], "b": [0, 0, 1]}))
    assert crosses.ids("a", "b", new).tolist() == [0, 0, 0]
    assert crosses.table("a", "b", 4).num_params <= 6
    with pytest.raises(InputError, match="two categorical"):
        OptInter(fields[:1], crosses)
    with pytest.raises(InputError, match="expected one of memorise"):
        OptInter(fields, crosses, choice={("a", "b"): "guess"})


def histories(rows: int = 5000) -> tuple[list[Field], Clicks, Clicks]:
    made, train = planted.histories(rows, seed=1), rows * 4 // 5
    fields = fit_fields(made.table, ITEMS)

    def part(first: int, last: int) -> Clicks:
        table = made.table.slice(first, last - first)
        columns = with_histories(fields, ITEMS, table)
        return Clicks(columns, made.labels[first:last], np.asarray(table["user"]))

    return fields, part(0, train), part(train, rows)


@pytest.mark.parametrize("normalise", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_attention_of_din_prefers_the_history_that_matters(normalise: bool) -> None:
    fields, train, valid = histories()
    plain = fitted(Logistic(fields), train, valid, 2)
    model = Din(
        fields, ITEMS, 8, attention=(16,), layers=(16,), normalise=normalise,
        regularisation=1e-2, std=0.1,
    )  # fmt: skip
    assert fitted(model, train, valid) > plain + 0.2
    assert measure(model, valid)["gauc"] > 0.7
    weights = model.weights(valid.columns).numpy()
    same = (valid.columns["kind_history"] == valid.columns["kind"][:, None]).numpy()
    other = (valid.columns["kind_history"] >= 0).numpy() & ~same
    assert np.abs(weights[same]).mean() > 2 * np.abs(weights[other]).mean()
    assert not weights[~same & ~other].any()


def test_weights_of_a_history_add_up_to_one_and_an_empty_one_has_none() -> None:
    table = pa.table(
        {
            "item": [1, 2, 3],
            "item_history": pa.array([[3, 1, 2], [], [9, 2]], pa.list_(pa.int64())),
        }
    )
    fields = fit_fields(table, ["item"])
    columns = with_histories(fields, ["item"], table, most=2)
    assert columns["item_history"].tolist() == [[1, 2], [-1, -1], [0, 2]]
    model = Din(fields, ["item"], 4)
    model.train(False)
    assert torch.allclose(model.weights(columns).sum(dim=1), torch.tensor([1.0, 0.0, 1.0]))
    assert np.isfinite(predict(model, columns)).all()


def test_only_rows_of_a_batch_decay_and_frequent_ones_less() -> None:
    table = pa.table({"item": [1, 1, 2, 3], "item_history": [[1], [2], [2], [2]]})
    fields = fit_fields(table, ["item"])
    columns = with_histories(fields, ["item"], table.slice(0, 1))
    model = Din(fields, ["item"], 4, regularisation=1.0)
    (gradient,) = torch.autograd.grad(model.decay(columns), model.embedding.table("item").weight)
    weight = model.embedding.table("item").weight.detach()
    assert torch.allclose(gradient[1], 2 * weight[1] / 2) and not gradient[[0, 2, 3]].any()


def test_dice_is_a_blend_that_goes_by_the_batch() -> None:
    """Against the formula: p s + (1 - p) alpha s, p the sigmoid of s, standardised."""
    dice = Dice(3)
    with torch.no_grad():
        dice.alpha.fill_(0.25)
    s = torch.randn((50, 3), generator=torch.Generator().manual_seed(0)) * 2 + 1
    p = torch.sigmoid((s - s.mean(0)) / (s.var(0, unbiased=False) + 1e-8).sqrt())
    assert torch.allclose(dice(s), p * s + (1 - p) * 0.25 * s, atol=1e-5)
    assert dice(torch.zeros((4, 5, 3))).shape == (4, 5, 3)


# Fields and tables


def test_columns_of_all_kinds_become_vectors() -> None:
    table = pa.table(
        {
            "colour": ["red", "blue", None, "red"],
            "tags": pa.array([["x", "y"], [], None, ["y"]], pa.list_(pa.string())),
            "price": [1.0, 3.0, None, 2.0],
        }
    )
    fields = fit_fields(table)
    assert [field.kind for field in fields] == ["categorical", "list", "numeric"]
    columns = encode(fields, table)
    assert columns["colour"].tolist() == [2, 1, 0, 2]
    assert columns["tags"].tolist() == [[1, 2], [-1, -1], [-1, -1], [2, -1]]
    assert columns["price"].tolist() == [0.0, 1.0, 0.0, 0.5]
    model = FieldEmbedding(fields, 3, std=1.0)
    made = model(columns).detach()
    tags, colour = model.table("tags").weight, model.table("colour").weight
    assert made.shape == (4, 3, 3)
    assert torch.allclose(made[0, 1], (tags[1] + tags[2]) / 2) and not made[1:3, 1].any()
    assert torch.equal(made[2, 0], colour[0])
    assert torch.equal(made[3, 2] * 2, made[1, 2])
    new = pa.table({"colour": ["green"], "tags": [["x", "z", "y"]], "price": [5.0]})
    assert encode(fields, new)["tags"].tolist() == [[1, 0]]
    assert model.num_params == 3 * (3 + 3 + 1)


def test_what_is_wrong_with_columns_is_told() -> None:
    table = pa.table({"a": [1, 2], "b": pa.array([None, None], pa.float32())})
    with pytest.raises(InputError, match="no column 'c'; there are a, b"):
        fit_fields(table, ["c"])
    with pytest.raises(InputError, match="column 'b' has no number"):
        fit_fields(table)
    fields = fit_fields(table, ["a"])
    with pytest.raises(InputError, match="'a', which the model was fitted with"):
        encode(fields, pa.table({"x": [1]}))
    with pytest.raises(InputError, match="2 zeros and ones"):
        Clicks.of(fields, table, [0, 2])
    with pytest.raises(InputError, match="no field 'z'; there are a"):
        FieldEmbedding(fields, 2).table("z")
    with pytest.raises(InputError, match="at least one field"):
        FieldEmbedding([], 2)
    with pytest.raises(InputError, match="'relu'"):
        Din(fields, ["a"], 4, activation="relu")


@pytest.mark.parametrize("kind", [*sorted(set(KINDS) - {"full"}), "one memory for all"])
def test_every_table_learns_in_autoint(kind: str) -> None:
    """A product of two fields, with half the numbers of full tables; one hash a row needs more."""
    fields, train, valid = second_order()
    if kind == "one memory for all":
        tables = unified(41, std=0.1)
    else:
        rows = {f.name: np.asarray(train.columns[f.name]) for f in fields}
        stats = {name: row_stats(column, 41) for name, column in rows.items()}
        tables = compressed(kind, 0.9 if kind == "hashed" else 0.5, stats=stats, small=0, std=0.1)
    model = AutoInt(fields, 8, layers=1, units=16, tables=tables)
    epochs = 15 if kind == "quotient-mult" else 6  # what a product tells apart, it tells slowly
    better = fitted(model, train, valid, epochs, 128)
    assert better > fitted(Logistic(fields), train, valid, 2) + 0.08
    assert model.vectors(valid.columns, ["f0", "f1"]).shape == (len(valid), 16)


def row_stats(column: NDArray[np.int64], rows: int) -> FrequencyStats:
    order = np.argsort(column, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(column, minlength=rows))))
    return FrequencyStats.of_columns(starts, order)


@cache
def second_order() -> tuple[list[Field], Clicks, Clicks]:
    random = np.random.default_rng(0)
    drawn = random.integers(0, 40, (5000, 2))
    logits = 2.5 * np.where(drawn[:, 0] < 20, 1.0, -1.0) * np.where(drawn[:, 1] < 20, 1.0, -0.4)
    labels = (random.random(5000) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    table = pa.table({"f0": drawn[:, 0], "f1": drawn[:, 1]})
    return parts(planted.Planted(table, labels, logits), 4000)


def test_predictions_are_chances_in_any_batches() -> None:
    fields, _, valid, _ = interactions()
    model = Logistic(fields)
    chances = predict(model, valid.columns)
    assert chances.shape == (len(valid),) and ((chances > 0) & (chances < 1)).all()
    assert auc(valid.labels, chances) == measure(model, valid)["auc"]
