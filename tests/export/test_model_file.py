"""Model files: what comes back is what went in, and every other file is refused in one line."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from diorama.errors import ModelError
from diorama.export.config import label_set, read_config
from diorama.export.model_file import catalog_name, load_model, save_model


def test_what_comes_back_is_what_went_in(tiny: Any, tiny_file: Path) -> None:
    method, config = load_model(tiny_file)
    assert type(method) is type(tiny)
    assert method.config == tiny.config  # tuples and nested dataclasses included
    assert not method.training
    for key, value in tiny.state_dict().items():
        assert torch.equal(method.state_dict()[key], value)
    assert (config["method"], config["format"]) == ("tiny", 1)
    assert config["depth"] == {"cap": 10.0, "unit": "m"}
    assert config["input"] == {"keys": ["image"], "size": [48, 64], "multiple_of": 32}
    assert config["training"] == {"data": "none", "terms": "free"}
    labels = label_set(config)
    assert labels is not None
    assert labels.classes == ("floor", "wall", "chair")
    assert labels.palette[2] == (0, 0, 200)


def test_the_config_stands_in_the_file_and_beside_it(tiny_file: Path) -> None:
    beside = json.loads((tiny_file.parent / "config.json").read_text())
    with safe_open(tiny_file, "pt") as file:
        inside = json.loads(file.metadata()["diorama"])
    assert beside == inside == read_config(tiny_file) == read_config(tiny_file.parent)
    assert sorted(path.name for path in tiny_file.parent.iterdir()) == ["config.json", "model.safetensors"]


def test_a_saved_model_fetches_no_backbone_weights(tiny: Any, tmp_path: Path) -> None:
    tiny.config = replace(tiny.config, pretrained=True, backbone_weights="/some/where/lite2.pth")
    path = tmp_path / "m.safetensors"
    config = save_model(tiny, path, labels=None, depth_cap=None, training={})
    method, _ = load_model(path)  # Tiny raises if it is asked for pretrained weights
    assert method.config.backbone_weights is None  # type: ignore[attr-defined]
    assert config["training"] == {"backbone_pretrained": True, "backbone_weights": "lite2.pth"}


def test_half_stores_matrices_as_fp16_and_loads_fp32(tiny: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny.second.weight[0, 0] = 1e6  # beyond fp16
    save_model(tiny, tmp_path / "m.safetensors", labels=None, depth_cap=10, training={}, half=True)
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert kinds["first.weight"] == torch.float16
    assert kinds["second.weight"] == kinds["first.bias"] == torch.float32
    method, _ = load_model(tmp_path / "m.safetensors")
    for key, value in method.state_dict().items():
        assert value.dtype == torch.float32
        # fp16 has 11 significant bits.
        np.testing.assert_allclose(value, tiny.state_dict()[key], rtol=2**-11, atol=1e-7)


def test_a_model_of_another_method_is_named(tiny_file: Path) -> None:
    with pytest.raises(ModelError, match="a model of method 'tiny', not 'ci_net'"):
        load_model(tiny_file, method="ci_net")


def rewrite(path: Path, **changes: Any) -> Path:
    """The model file with changes to its config."""
    with safe_open(path, "pt") as file:
        config = {**json.loads(file.metadata()["diorama"]), **changes}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"diorama": json.dumps(config)})
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "model format 2, this diorama reads up to 1. Install a newer one"),
        ({"method": "other"}, r"not those of method 'other': lacks 2 \(extra\.bias"),
        ({"method": "tinny"}, "did you mean 'tiny'"),
        ({"init": {"classes": 3, "pretrained": False, "depht": 1}}, "with other arguments of 'tiny'"),
        ({"init": {"classes": 4, "pretrained": False}}, r"'semantic\.(bias|weight)' has shape \(3"),
    ],
)
def test_a_file_that_does_not_fit_says_why(tiny_file: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says) as error:
        load_model(rewrite(tiny_file, **changes))
    assert "\n" not in str(error.value)


def test_files_of_other_programs_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "huge.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    (tmp_path / "junk.safetensors").write_bytes(struct.pack("<Q", 3) + b"abc")
    (tmp_path / "config.json").write_text("[]")
    (tmp_path / "half.json").write_text('{"format": 1}')
    for name, says in (
        ("foreign.safetensors", "another program wrote it"),
        ("huge.safetensors", "cut off"),
        ("junk.safetensors", "damaged"),
        ("config.json", "not the config of a diorama model"),
        ("half.json", "lacks method"),
        ("model.ckpt", "no such model file"),
    ):
        with pytest.raises(ModelError, match=says) as error:
            read_config(tmp_path / name)
        assert "\n" not in str(error.value)
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(ModelError, match=r"Give the model\.safetensors"):
        load_model(tmp_path / "last.ckpt")


def test_a_cut_file_is_an_error_of_one_line(tiny_file: Path) -> None:
    tiny_file.write_bytes(tiny_file.read_bytes()[:-50])
    with pytest.raises(ModelError, match="damaged or cut off") as error:
        load_model(tiny_file)
    assert "\n" not in str(error.value)


def test_nothing_is_left_behind_when_saving_fails(tiny: Any, tmp_path: Path) -> None:
    for training, says in (({"root": tmp_path}, "no JSON type"), ({"loss": float("nan")}, "no JSON type")):
        with pytest.raises(ModelError, match=says):
            save_model(tiny, tmp_path / "m.safetensors", labels=None, depth_cap=None, training=training)
    with pytest.raises(ModelError, match=r"ends with \.safetensors"):
        save_model(tiny, tmp_path / "m.pt", labels=None, depth_cap=None, training={})
    assert not list(tmp_path.iterdir())


def test_a_method_outside_the_catalog_is_refused(tmp_path: Path) -> None:
    class Stranger(torch.nn.Module):
        config = None

    with pytest.raises(ModelError, match="is in no catalog"):
        catalog_name(Stranger())  # type: ignore[arg-type]


def test_a_folder_with_several_models_asks_for_the_file(tiny_file: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(tiny_file.read_bytes())
    with pytest.raises(ModelError, match="holds 2 model files"):
        read_config(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    assert read_config(tmp_path)["method"] == "tiny"


def test_a_config_is_read_without_torch(tiny_file: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from diorama.export.config import read_config\n"
        f"print(read_config({str(tiny_file)!r})['method'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("tiny", 0), done.stderr
