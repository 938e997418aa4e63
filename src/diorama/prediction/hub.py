"""Models on the hub: `org/name` -> a folder with config, weights and model card. huggingface_hub is imported when one is asked for."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama.errors import ModelError, one_line

if TYPE_CHECKING:
    from diorama.prediction.predictor import Predictor

log = logging.getLogger("diorama")

FILES = ("config.json", "model.safetensors", "model.onnx", "model.xml", "model.bin", "README.md")
"""What a model folder is made of; nothing else is fetched or sent. `model.bin` is OpenVINO's weights: never unpickled."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(?:@[\w./-]+)?")
_MISSING = "needs huggingface_hub, which is not installed. Install it with: pip install 'diorama[hub]'."


def is_hub_id(source: str | Path) -> bool:
    """Whether `source` can only be the id of a model on the hub: `org/name` or `org/name@revision`, and no folder `org` is here."""
    text = str(source)
    if isinstance(source, Path) or _NAME.fullmatch(text) is None or Path(text.partition("/")[0]).exists():
        return False
    return Path(text).suffix.lower() not in {".onnx", ".safetensors", ".xml", ".ckpt", ".pt", ".pth", ".bin", ".pkl", ".json"}


def hub(what: str) -> Any:
    """The module huggingface_hub, for `what`.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(f"{what}: a model of the hub {_MISSING}") from error
    return huggingface_hub


def fetch(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    endpoint: str | None = None,
) -> Path:
    """The folder of a model of the hub, fetched unless it was before.

    Args:
        repo_id: `org/name`, or `org/name@revision`.
        revision: branch, tag or commit; a commit never changes.
        token: of a private model; None: the one that `hf auth login` stored.
        cache_dir: where fetched models are kept; None: where huggingface_hub keeps all.
        local_files_only: fetch nothing.
        endpoint: another hub than the public one.

    Raises:
        ModelError: huggingface_hub is missing, or there is no such model or no connection.
    """
    library = hub(repo_id)
    name, _, named = repo_id.partition("@")
    asked = {"revision": revision or named or None, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
    try:
        folder = Path(library.snapshot_download(name, **asked, endpoint=endpoint, allow_patterns=list(FILES)))
    # its errors, those of its connection and those of names share no base class
    except Exception as error:
        raise ModelError(
            f"{repo_id}: no such path here, and the hub gives no such model ({one_line(error)}). Check the name and the connection."
        ) from error
    if not any((folder / name).is_file() for name in FILES if name.startswith("model.")):
        raise ModelError(f"{repo_id}: holds no {' or '.join(FILES[1:4])}, so diorama did not write it. Give another model.")
    return folder


def from_pretrained(
    source: str | Path, *, backend: str = "auto", device: str = "cpu", threads: int | None = None, **of_hub: Any
) -> Predictor:
    """`diorama.load` with the hub's own settings: a model `org/name`, or a folder, ready to predict.

    Args:
        source: `org/name` on the hub, or a model folder.
        backend: see `diorama.load`.
        device: see `diorama.load`.
        threads: see `diorama.load`.
        of_hub: `revision`, `token`, `cache_dir`, `local_files_only` and `endpoint`, see `fetch`.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
    """
    from diorama.prediction.predictor import load

    if Path(source).exists():
        return load(source, backend=backend, device=device, threads=threads)  # type: ignore[arg-type]
    found = load(fetch(str(source), **of_hub), backend=backend, device=device, threads=threads)  # type: ignore[arg-type]
    found.name = hub_name(str(source))
    return found


def hub_name(repo_id: str) -> str:
    """What results call a model of the hub: `name` of `org/name@revision`."""
    return repo_id.partition("@")[0].rpartition("/")[2]
