"""ImageNet backbones: any timm `features_only` model, normalisation inside, weights from the hub or from a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diorama.errors import ConfigError, ModelError, suggest
from diorama.nn.depthwise import speed_up_depthwise

logger = logging.getLogger("diorama")

ROLES = frozenset({"weight", "bias", "running_mean", "running_var"})
PREFIXES = ("module.", "model.", "net.", "backbone.", "encoder.", "network.backbone.features.")


class Backbone(nn.Module):
    """RGB in 0..1 -> features from stride `finest` to the last, finest first.

    Args:
        name: timm model name.
        output_stride: 8 or 16 replaces strides of the last stages by dilation where the model supports it; 32 leaves it as it is.
        pretrained: timm's own weights (hub or cache).
        weights: a file that is loaded instead.
        finest: smallest stride of the features.

    Raises:
        ConfigError: no such model, or it cannot be dilated.
        ModelError: the file does not fit the model.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, output_stride: int = 32, pretrained: bool = False, weights: str | Path | None = None, finest: int = 4
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise ConfigError(f"unknown backbone '{name}': {suggest(name, timm.list_models())}")
        dilation = {} if output_stride == 32 else {"output_stride": output_stride}
        try:
            self.features = timm.create_model(name, features_only=True, pretrained=pretrained and weights is None, **dilation)
        except (NotImplementedError, TypeError, AssertionError) as error:
            raise ConfigError(f"backbone '{name}' has no output stride {output_stride}. Set model.output_stride=32.") from error
        except OSError as error:
            raise ConfigError(
                f"no pretrained weights for '{name}' ({error}). Pass model.backbone_weights=FILE or model.pretrained=false."
            ) from error
        reductions = self.features.feature_info.reduction()
        kept = [level for level, stride in enumerate(reductions) if stride >= finest]
        self.levels = tuple(kept)
        self.strides = tuple(reductions[level] for level in kept)
        self.channels = tuple(self.features.feature_info.channels()[level] for level in kept)
        cfg = self.features.pretrained_cfg if hasattr(self.features, "pretrained_cfg") else timm.get_pretrained_cfg(name).to_dict()
        self.register_buffer("mean", torch.tensor(cfg["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(cfg["std"]).view(1, 3, 1, 1), persistent=False)
        if weights is not None:
            load_weights(self.features, weights)
        speed_up_depthwise(self.features)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`(B, 3, H, W)` RGB in 0..1 -> one `(B, C_l, H / s_l, W / s_l)` per level, finest first."""
        features = self.features((image - self.mean) / self.std)
        return [features[level] for level in self.levels]


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; never unpickles code.

    Raises:
        ModelError: missing, damaged, or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file. Check model.backbone_weights.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelError(
            f"{path}: not a readable weights file ({type(error).__name__}). Use .safetensors or a plain state dict."
        ) from error
    except Exception as error:  # torch raises pickle.UnpicklingError subclasses that differ between versions
        raise ModelError(f"{path}: holds more than tensors. Save its state_dict() alone, or convert it to .safetensors.") from error
    for wrapper in ("state_dict", "model", "state_dict_ema"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: not a state dict. Save model.state_dict().")
    return dict(state)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file into `model`, whatever its naming: by name, by name without a common prefix, or by order and shape.

    Layers of the file that the model lacks (classifier, last convolution) are left out; every layer of the model must be found.

    Raises:
        ModelError: a layer of the model is not in the file, or the file goes on where a stage of the model ends.
    """
    state, wanted = read_weights(path), model.state_dict()
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    needed = {key: value for key, value in wanted.items() if key not in counters}
    found = match_keys(needed, state)
    if found is None:
        missing = next((key for key in needed if key not in state), "its first layer")
        raise ModelError(
            f"{path}: does not fit the backbone (no match for '{missing}'). Check that model.backbone names the same architecture."
        )
    if surplus := deeper(needed, state):
        raise ModelError(f"{path}: is of a deeper network (it has '{surplus}'). Check that model.backbone names the same architecture.")
    model.load_state_dict({**{key: wanted[key] for key in counters}, **found})
    logger.info("backbone: %d tensors from %s", len(found), path)


def deeper(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """A name of `state` that continues a numbered row of `wanted` (layer3.6 after layer3.5), None if there is none.

    Every layer of a ResNet-50 is in a ResNet-101 too, by name and shape: only what is left over tells them apart.
    """
    for key in state:
        parts = key.split(".")
        if key in wanted or any(key.removeprefix(prefix) in wanted for prefix in PREFIXES):
            continue
        for place, part in enumerate(parts):
            if part.isdigit() and int(part):
                before = ".".join([*parts[:place], str(int(part) - 1), *parts[place + 1 :]])
                if any(before.removeprefix(prefix) in wanted for prefix in ("", *PREFIXES)):
                    return key
    return None


def match_keys(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors of `state` under the names of `wanted`, None if one cannot be found.

    Order and shape decide only if names do not; then every wanted tensor must match in sequence, so that two layers
    of one shape cannot be swapped unless the file lists them in another order. Extra tensors may follow at the end.
    """
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    for prefix in ("", *PREFIXES):
        named = {key.removeprefix(prefix): value for key, value in state.items()}
        if all(key in named and named[key].shape == value.shape for key, value in wanted.items()):
            return {key: named[key] for key in wanted}
    if len(state) < len(wanted):
        return None
    for (key, value), (name, stored) in zip(wanted.items(), state.items(), strict=False):
        # the four tensors of a batch norm have one shape, and a file sorted by name lists them in another order
        role = name.rpartition(".")[2]
        if value.shape != stored.shape or (role in ROLES and role != key.rpartition(".")[2]):
            return None
    return dict(zip(wanted, state.values(), strict=False))
