"""A run or a model folder as a model of the hub: config, safetensors, ONNX and model card. `python -m diorama.running.hub RUN ORG/NAME`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from diorama.errors import ConfigError, ModelError, one_line
from diorama.export.config import CONFIG_NAME, ModelConfig, input_keys, read_config
from diorama.prediction.hub import FILES, hub, is_hub_id
from diorama.prediction.predictor import WEIGHTS, list_models

TAGS = {"semantic": "image-segmentation", "depth": "depth-estimation"}
"""What a model gives -> the hub's own word for it."""

_USE = """
## Use

```python
import diorama

model = diorama.load("{repo_id}")
for scene in model.predict("photos/"):
    scene.save("results")
```
"""


def push_to_hub(
    source: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    token: str | bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Send a model to the hub, where `diorama.load(repo_id)` finds it; the address of its commit comes back.

    Args:
        source: a run folder (it becomes a model folder first, see `ship`), a model folder, or the name of a shipped model.
        repo_id: `org/name`; made if it is not there.
        private: seen by its owners alone, if it has to be made. Look at the card and the terms of the data before changing that.
        token: None: the one that `hf auth login` stored.
        revision: branch; None: main.
        message: of the commit.
        endpoint: another hub than the public one.

    Raises:
        ConfigError: `repo_id` is no `org/name`, or `source` no model.
        ModelError: huggingface_hub is missing, or the hub refuses.
    """
    if not is_hub_id(repo_id) or "@" in repo_id:
        raise ConfigError(f"'{repo_id}' is no name on the hub. Give org/name, of letters, digits, '-', '_' and '.'.")
    library = hub(repo_id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = model_folder(source, repo_id, Path(temporary) / repo_id.rpartition("/")[2])
        api = library.HfApi(endpoint=endpoint, token=token)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True, repo_type="model")
            sent = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=message or "Add a model of diorama",
                allow_patterns=list(FILES),
            )
        # its errors and those of its connection share no base class
        except Exception as error:
            raise ModelError(
                f"{repo_id}: the hub does not take it ({one_line(error)}). Log in with `hf auth login`, or pass token."
            ) from error
    return str(sent.commit_url)


def model_folder(source: str | Path, repo_id: str, folder: Path) -> Path:
    """`source` as a folder of `FILES` whose card begins with what the hub reads.

    Raises:
        ConfigError: neither a run, nor a model folder or a shipped model.
    """
    found = WEIGHTS / str(source) if str(source) in list_models() else Path(source)
    if (found / "config.yaml").is_file() and (found / "last.ckpt").is_file():
        from diorama.running.ship import ship

        ship(found, folder)
    elif (found / CONFIG_NAME).is_file() and any((found / name).is_file() for name in ("model.safetensors", "model.onnx")):
        folder.mkdir()
        for name in (name for name in FILES if (found / name).is_file()):
            shutil.copyfile(found / name, folder / name)
    else:
        raise ConfigError(f"{source}: neither a run folder nor a model folder ({CONFIG_NAME} and model.*). Give one, or a shipped name.")
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {folder.name}\n"
    card.write_text(front_matter(read_config(folder)) + "\n" + text.rstrip() + "\n" + _USE.format(repo_id=repo_id), encoding="utf-8")
    return folder


def front_matter(model: ModelConfig) -> str:
    """What the hub reads at the head of a card: library, kind of model, and that the terms are those of the data in the card."""
    gives = [TAGS[kind] for kind, has in (("semantic", model["labels"]), ("depth", model["depth"])) if has]
    facts = {
        "library_name": "diorama",
        "license": "other",
        "license_name": "terms-of-the-training-data",
        "license_link": "README.md",
        "tags": ["diorama", model["method"], *gives, *(f"input-{key}" for key in input_keys(model))],
        **({"pipeline_tag": gives[0]} if gives else {}),
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---\n"


def main(words: Sequence[str]) -> int:
    """The command line: `python -m diorama.running.hub RUN ORG/NAME`."""
    if len(words) != 2:
        raise ConfigError("usage: python -m diorama.running.hub RUN ORG/NAME. RUN is a run folder, a model folder or a shipped name.")
    sys.stdout.write(f"{push_to_hub(*words)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
