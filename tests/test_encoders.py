"""Encoders over small models of random weights, against sentence-transformers called directly."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanns.datasets import encoder_names
from fanns.datasets.encoder_names import PRESETS, Options, moved, over, parse, written
from fanns.datasets.encoders import load
from fanns.errors import InputError, MissingDependencyError
from tests.encoder_models import tiny_bert

TEXTS = ["black hole entropy", "the graph", "a proof of a bound of the theory " * 9, ""]
PROMPTS = {"query": "the graph ", "instruct": "a proof "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "tiny bert", PROMPTS, heads=(48, 64))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    """The same model, by its own library."""
    return pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder))


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_agrees_with_the_library(folder: Path, model: Any) -> None:
    encoder = load(str(folder))
    documents = encoder.documents(TEXTS)
    assert documents.dtype == np.float32 and documents.shape == (4, 48)
    np.testing.assert_allclose(documents, unit(model.encode_document(TEXTS)), atol=1e-6)
    np.testing.assert_allclose(encoder.queries(TEXTS), unit(model.encode_query(TEXTS)), atol=1e-6)
    assert np.abs(encoder.queries(TEXTS) - documents).max() > 1e-3, "the query prompt counts"
    assert encoder.documents([]).shape == (0, 48)


def test_prompts_by_text_and_by_name(folder: Path, model: Any) -> None:
    encoder = load(str(folder), document_prompt="instruct", query_prompt="lattice ")
    assert encoder.settings["document_prompt"] == "a proof "
    plain = load(str(folder), query_prompt="")
    for made, texts in (
        (encoder.documents(TEXTS), ["a proof " + text for text in TEXTS]),
        (encoder.queries(TEXTS), ["lattice " + text for text in TEXTS]),
        (plain.queries(TEXTS), TEXTS),
    ):
        np.testing.assert_allclose(made, unit(model.encode(texts, prompt="")), atol=1e-6)


def test_texts_are_cut(folder: Path) -> None:
    long, short = load(str(folder)), load(str(folder), max_length=6)
    words = TEXTS[2].split()
    cut = [" ".join(words[:4])]  # beside the two marks of beginning and end
    np.testing.assert_allclose(short.documents(TEXTS[2:3]), long.documents(cut), atol=1e-6)
    assert (long.settings["max_length"], short.settings["max_length"]) == (16, 6)
    load(str(folder), max_length=24)
    with pytest.raises(InputError, match=r"max_length is 25, but the model .* at most 24 tokens"):
        load(str(folder), max_length=25)


def test_dimensions_are_cut_before_scaling(folder: Path, model: Any) -> None:
    raw = model.encode_document(TEXTS)
    made = load(str(folder), dimensions=5).documents(TEXTS)
    np.testing.assert_allclose(made, unit(raw[:, :5]), atol=1e-6)
    bare = load(str(folder), dimensions=5, normalize=False).documents(TEXTS)
    np.testing.assert_allclose(bare, raw[:, :5], atol=1e-6)
    with pytest.raises(InputError, match=r"dimensions is 49, but vectors of the model .* have 48"):
        load(str(folder), dimensions=49)


def test_bfloat16_is_near_and_told_apart(folder: Path) -> None:
    exact, rough = load(str(folder)), load(str(folder), dtype="bfloat16")
    made = rough.documents(TEXTS)
    assert made.dtype == np.float32
    cosines = (made * exact.documents(TEXTS)).sum(axis=1)
    assert 0.995 < cosines.min() < cosines.max() < 1 - 1e-9
    assert len(np.unique(made.view(np.uint32) & 0xFFFF)) > 10, "pooling is in float32"
    assert rough.settings != exact.settings and rough.name != exact.name


def test_heads(folder: Path, model: Any) -> None:
    encoder = load(f"{folder}?head=2_Dense_64", batch_size=2)
    assert encoder.settings["head"] == "2_Dense_64"
    pooled = model[1](model[0](model.preprocess(TEXTS)))["sentence_embedding"]
    other = type(model[2]).load(str(folder), subfolder="2_Dense_64")
    expected = unit(other.linear(pooled).detach().numpy())
    np.testing.assert_allclose(encoder.documents(TEXTS), expected, atol=1e-6)
    with pytest.raises(InputError, match="has no layer '2_Dense_7' that can be loaded"):
        load(f"{folder}?head=2_Dense_7")


def test_the_name_makes_the_same_encoder(folder: Path) -> None:
    first = load(str(folder), document_prompt="a%b?&c=ö ", max_length=9, dimensions=7)
    again = load(first.name)
    assert (again.name, again.settings) == (first.name, first.settings)
    assert (again.documents(TEXTS) == first.documents(TEXTS)).all()
    assert "batch" not in str(first.settings) and str(folder) not in str(first.settings)


def test_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    recorded = load(str(folder), called="static").name
    assert recorded.startswith("static?weights=")
    assert load(moved(recorded, str(folder))).documents(TEXTS).shape == (4, 48)
    other = tiny_bert(tmp_path / "other", heads=(64,))
    with pytest.raises(InputError, match=r"not the one that made the vectors.*expected"):
        load(moved(recorded, str(other)))
    with pytest.raises(InputError, match="give the folder they were saved in"):
        load(recorded)


def test_nan_is_refused(folder: Path) -> None:
    encoder: Any = load(str(folder))
    encoder._model.encode_document = lambda texts, **_: np.full((len(texts), 48), np.nan)
    with pytest.raises(InputError, match=r"NaN or infinity for 4 of 4 texts, the first.*black hol"):
        encoder.documents(TEXTS)


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("sentence_transformers")

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(InputError, match=r"not on this machine.*no route.*copy the model's"):
        load("nobody/nothing")
    with pytest.raises(InputError, match="is no folder on this machine"):
        load("./nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty' cannot be loaded"):
        load(str(tmp_path / "empty"))


def test_code_of_models_is_not_run_unasked(folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    strange = tmp_path / "strange"
    shutil.copytree(folder, strange)
    config = json.loads((strange / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config"}}
    (strange / "config.json").write_text(json.dumps(config))
    (strange / "code.py").write_text("raise SystemExit('run')")
    with pytest.raises(InputError, match=r"code of its own.*--trust-remote-code"):
        load(str(strange))


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependencyError, match="pip install sentence-transformers"):
        load("anything")


def test_arguments() -> None:
    wrongs: tuple[tuple[dict[str, Any], str], ...] = (
        ({"dtype": "float8"}, "dtype is 'float8'"),
        ({"max_length": 0}, "max_length is 0"),
        ({"dimensions": 0}, "dimensions is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    )
    for wrong, told in wrongs:
        with pytest.raises(InputError, match=told):
            load("minilm", **wrong)


def test_names_that_cannot_be_read() -> None:
    for text, told in (
        ("a?lenght=3", "no option 'lenght'"),
        ("a?max_lenght=3", "did you mean 'max_length'"),
        ("a?max_length=x", "max_length is 'x'"),
        ("a?normalize=1", "normalize is '1'"),
        ("a?head=../b", "head is '../b'"),
    ):
        with pytest.raises(InputError, match=told):
            parse(text)


def test_presets_are_written_out() -> None:
    for name, preset in PRESETS.items():
        assert parse(name) == (preset.model, preset.options)
        assert parse(written(*parse(name))) == parse(name)
    assert encoder_names.DEFAULT in PRESETS


def test_a_folder_comes_before_presets_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("minilm", "a?max_length=3"):
        Path(name).mkdir()
        assert parse(name) == (name, Options())


options = st.builds(
    Options,
    document_prompt=st.none() | st.text(),
    query_prompt=st.none() | st.text(),
    max_length=st.none() | st.integers(1, 9999),
    dtype=st.sampled_from(encoder_names.DTYPES),
    dimensions=st.none() | st.integers(1, 9999),
    normalize=st.booleans(),
    weights=st.none() | st.text("0123456789abcdef", min_size=1),
)


@given(name=st.text(min_size=1).filter(lambda n: n not in PRESETS and "\0" not in n), made=options)
def test_names_come_back(name: str, made: Options) -> None:
    text = written(name, made)
    if made != Options():
        assert parse(text) == (name, made)
    assert parse(moved(text, "/some/where")) == ("/some/where", parse(text)[1])


def test_over_leaves_what_is_not_given() -> None:
    base = Options(max_length=5, normalize=False)
    assert over(base, max_length=None, dtype="bfloat16") == Options(
        max_length=5, normalize=False, dtype="bfloat16"
    )
