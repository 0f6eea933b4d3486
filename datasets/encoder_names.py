"""How an encoder is written in one string, which manifests, Parquet files and indexes record.

    NAME[?option=value&...]

NAME is a sentence-transformers model: its name on the Hugging Face hub, or a folder. Options are
those of `Options`, percent-encoded as in a URL; one that is left out has its default. A bare name
is thus the model as its authors meant it, and a data set that was embedded otherwise says how:
queries by text then get the same prompts, length, precision and dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from os.path import isdir  # unlike pathlib's, False for names too long to exist
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from fanns.errors import InputError

PLAIN = "/\\:~ "  # in names, besides letters, digits and _.-
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Options:
    """What changes vectors besides the model; None stands for the model's own way.

    Attributes:
        document_prompt, query_prompt: text put before every document or query, or the name of one
            of the model's prompts.
        max_length: tokens after which a text is cut.
        dtype: precision of the model's layers, "float32" or "bfloat16"; vectors are float32.
        dimensions: of the vectors: the first so many (Matryoshka representation learning,
            Kusupati et al. 2022).
        normalize: scale vectors to unit length.
        head: folder, inside the model's, of the last linear layer to use in place of the model's.
        weights: fingerprint of the parameters and the vocabulary; a model with another one is
            refused.
    """

    document_prompt: str | None = None
    query_prompt: str | None = None
    max_length: int | None = None
    dtype: str = "float32"
    dimensions: int | None = None
    normalize: bool = True
    head: str | None = None
    weights: str | None = None


class Preset(NamedTuple):
    """A short name for a model and the options it is used with."""

    model: str
    options: Options
    about: str


PRESETS = {
    "minilm": Preset(
        "sentence-transformers/all-MiniLM-L6-v2",
        Options(),
        "384 dimensions, 256 tokens, 23 million parameters: for laptops",
    ),
    "paper": Preset(
        "NovaSearch/stella_en_400M_v5",
        Options(query_prompt="s2p_query", dimensions=4096, head="2_Dense_4096"),
        "4,096 dimensions, 435 million parameters: the model of arxiv-for-fanns; needs a GPU for "
        "more than a sample, and trust_remote_code",
    ),
}
DEFAULT = "minilm"


def parse(text: str) -> tuple[str, Options]:
    """The name and the options of a recorded string or a preset; an existing folder is a name.

    Raises InputError for an unknown option or a value that cannot be one.
    """
    if text in PRESETS and not isdir(text):
        return PRESETS[text].model, PRESETS[text].options
    name, mark, query = text.partition("?")
    if not mark or isdir(text):
        return text, Options()
    given: dict[str, Any] = {}
    known = [field.name for field in fields(Options)]
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(known)}"
            raise InputError(f"model {text!r}: no option {key!r}; {hint}")
        given[key] = _value(text, key, value)
    return unquote(name), checked(Options(**given))


def written(name: str, options: Options) -> str:
    """The string that `parse` reads back as this name and these options."""
    given = {}
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            given[field.name] = ("no", "yes")[value] if isinstance(value, bool) else value
    if not given:
        return name
    return f"{quote(name, safe=PLAIN)}?{urlencode(given, quote_via=quote)}"


def over(options: Options, **given: Any) -> Options:
    """The options with those given in their place; None leaves what is there."""
    return checked(replace(options, **{k: v for k, v in given.items() if v is not None}))


def moved(recorded: str | None, location: str) -> str:
    """The recorded encoder, its files being elsewhere: options of `location` go before."""
    name, own = parse(location)
    options = parse(recorded)[1] if recorded is not None else Options()
    changed = {
        field.name: getattr(own, field.name)
        for field in fields(Options)
        if getattr(own, field.name) != field.default
    }
    return written(name, replace(options, **changed))


def checked(options: Options) -> Options:
    """The options, or InputError naming the one that cannot be."""
    if options.dtype not in DTYPES:
        raise InputError(f"dtype is {options.dtype!r}, expected {' or '.join(DTYPES)}")
    for key in ("max_length", "dimensions"):
        value = getattr(options, key)
        if value is not None and (type(value) is not int or value < 1):
            raise InputError(f"{key} is {value!r}, expected a whole number above 0")
    head = options.head
    if head is not None and (not head or "/" in head or "\\" in head or head.startswith(".")):
        raise InputError(f"head is {head!r}, expected the name of a folder of the model")
    return options


def _value(text: str, key: str, value: str) -> Any:
    if key in ("max_length", "dimensions"):
        if value.isascii() and value.isdigit():
            return int(value)
        raise InputError(f"model {text!r}: {key} is {value!r}, expected a whole number")
    if key == "normalize":
        if value in ("yes", "no"):
            return value == "yes"
        raise InputError(f"model {text!r}: normalize is {value!r}, expected yes or no")
    return value
