"""Teachers: models of the package, folders, and tiny random networks of transformers; nothing is fetched."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import toy
from numpy.typing import NDArray

from diorama.data import io, labels
from diorama.data.labels import LabelSet, mapping
from diorama.errors import ConfigError, DataError, ModelError, ShapeError
from diorama.prediction.predictor import Predictor
from diorama.running.taught import labelled
from diorama.running.teachers import ModelTeacher, load_teacher

THREE = LabelSet("three", ("dark", "red", "other"), ((10, 20, 30), (200, 30, 40), (1, 2, 3)))


def fixed(logits: tuple[float, ...], classes: tuple[str, ...]) -> toy.SameModel:
    return toy.SameModel(toy.toy_config(toy.SIZE, classes), 4.0, logits)


def photo(height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def test_confidence_is_the_largest_softmax_probability() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 7, 9)).astype(np.float32)
    semantic, confidence = labelled(logits, mapping({k: k for k in range(5)}), (7, 9))
    for row, column in np.ndindex(7, 9):
        powers = [np.exp(float(value)) for value in logits[:, row, column]]
        assert semantic[row, column] == int(np.argmax(powers))
        assert confidence[row, column] == pytest.approx(max(powers) / sum(powers), rel=1e-5)


def test_merged_classes_add_up_and_unmapped_ones_are_rivals() -> None:
    # probabilities 0.35, 0.3, 0.25, 0.1; classes 1 and 2 are one
    planes = np.log(np.array([0.35, 0.3, 0.25, 0.1], np.float32))[:, None, None] * np.ones((1, 2, 2), np.float32)
    semantic, confidence = labelled(planes, mapping({0: 0, 1: 1, 2: 1, 3: 2}), (2, 2))
    assert (semantic == 1).all() and confidence == pytest.approx(np.full((2, 2), 0.55))
    # without a train id for the first it still wins, so nothing is said
    semantic, confidence = labelled(planes, mapping({1: 1, 3: 2}), (2, 2))
    assert (semantic == 255).all() and (confidence == 0).all()
    # ... and loses against a larger group
    semantic, confidence = labelled(planes, mapping({1: 1, 2: 1, 3: 2}), (2, 2))
    assert (semantic == 1).all() and confidence == pytest.approx(np.full((2, 2), 0.55))


def test_masses_of_mask_classification_are_shares_only_above_one() -> None:
    planes = np.array([0.2, 0.1], np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    table = mapping({0: 0, 1: 1})
    assert labelled(planes, table, (2, 2), scores=True)[1] == pytest.approx(np.full((2, 2), 0.2))
    assert labelled(10 * planes, table, (2, 2), scores=True)[1] == pytest.approx(np.full((2, 2), 2 / 3))


def test_a_model_says_what_predict_writes_and_how_sure_it_is() -> None:
    predictor = Predictor(fixed((0.0, 2.0), ("dark", "red")), "toy", "by hand")
    teacher = ModelTeacher(predictor, THREE, unmapped="refuse")
    image = photo(50, 70)
    taught, scene = teacher(image, "a"), predictor.scene(image)
    assert np.array_equal(taught.semantic, scene.semantic)
    assert np.array_equal(taught.depth, scene.depth)
    assert taught.semantic_confidence == pytest.approx(np.full((50, 70), np.exp(2) / (1 + np.exp(2))))
    assert (teacher.name, teacher.labels, teacher.depth_unit) == ("toy", THREE, "m")


def test_nineteen_classes_become_seven_and_others_are_refused() -> None:
    logits = tuple(float(name in ("car", "truck", "building")) * 3 for name in labels.CITYSCAPES19.classes)
    predictor = Predictor(fixed(logits, labels.CITYSCAPES19.classes), "street", "by hand")
    taught = ModelTeacher(predictor, labels.CITYSCAPES7)(photo(), "a")
    assert (taught.semantic == labels.CITYSCAPES7.classes.index("vehicle")).all()
    total = 3 * np.exp(3) + 16  # two vehicles are likely, four are not
    assert taught.semantic_confidence == pytest.approx(np.full((64, 96), (2 * np.exp(3) + 4) / total))
    with pytest.raises(ModelError, match=r"street: 8 of its 19 classes are not in 'camvid11': wall.*--unmapped ignore"):
        ModelTeacher(predictor, labels.CAMVID11)
    with pytest.raises(ModelError, match=r"knows none of the classes of 'three'"):
        ModelTeacher(predictor, THREE)


def test_unmapped_classes_are_ignored_when_asked(caplog: pytest.LogCaptureFixture) -> None:
    predictor = Predictor(fixed((3.0, 0.0), ("zebra", "red")), "zoo", "by hand")
    with caplog.at_level(logging.WARNING, "diorama"):
        taught = ModelTeacher(predictor, THREE, unmapped="ignore")(photo(), "a")
    assert (taught.semantic == 255).all() and (taught.semantic_confidence == 0).all()
    assert "are ignored: zebra" in caplog.text and "never says dark, other of 'three'" in caplog.text


def test_what_is_no_teacher_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="image_reconstruction-nyuv2 takes sparse_depth; a teacher sees a photo only"):
        load_teacher("image_reconstruction-nyuv2")
    with pytest.raises(ModelError, match="did you mean 'ci_net-nyuv2'"):
        load_teacher("ci_net-nyu")
    with pytest.raises(ConfigError, match="Choose refuse or ignore"):
        load_teacher("ci_net-nyuv2", unmapped="drop")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"neither a model nor label maps"):
        load_teacher(tmp_path, THREE)
    (tmp_path / "config.json").write_text('{"architectures": ["SegformerForSemanticSegmentation"]}')
    with pytest.raises(ModelError, match="Write hf:"):
        load_teacher(tmp_path, THREE)


def test_a_shipped_model_teaches(real_data: Path) -> None:
    teacher = load_teacher("ci_net-nyuv2", labels.NYU13)
    taught = teacher(photo(120, 160), "a")
    assert taught.semantic is not None and taught.semantic_confidence is not None and taught.depth is not None
    assert taught.semantic.shape == taught.semantic_confidence.shape == taught.depth.shape == (120, 160)
    assert taught.semantic.max() < 13 and 0 < taught.semantic_confidence.min() <= taught.semantic_confidence.max() <= 1


def test_a_folder_of_both_views(tmp_path: Path) -> None:
    ids = np.random.default_rng(1).choice(np.array([0, 1, 2, 255], np.uint8), (6, 8))
    sure = np.random.default_rng(2).random((6, 8)).astype(np.float32)
    depth = np.random.default_rng(3).uniform(1, 50, (6, 8)).astype(np.float32)
    for name in ("left/town/a.png", "left/town/a.depth.npy", "left/town/a.confidence.png", "right/town/a.png", "left/b.semantic.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    io.write_label_png(tmp_path / "left/town/a.png", ids)
    io.write_label_png(tmp_path / "left/b.semantic.png", ids)
    io.write_label_png(tmp_path / "right/town/a.png", ids[:, ::-1].copy())
    io.write_label_png(tmp_path / "left/town/a.confidence.png", (sure * 65535).round().astype(np.uint16), bits=16)
    np.save(tmp_path / "left/town/a.depth.npy", depth)
    io.write_depth_png(tmp_path / "left/b.depth.png", depth, scale=256)
    teacher = load_teacher(tmp_path, THREE)
    assert (teacher.labels, teacher.depth_unit) == (THREE, "m")
    left, right = teacher(photo(6, 8), "town/a"), teacher(photo(6, 8), "town/a", "right")
    assert np.array_equal(left.semantic, ids) and np.array_equal(left.depth, depth)
    assert left.semantic_confidence == pytest.approx(np.where(ids == 255, 0, sure), abs=1e-5)
    assert np.array_equal(right.semantic, ids[:, ::-1]) and right.depth is None
    assert np.array_equal(right.semantic_confidence, (ids[:, ::-1] != 255).astype(np.float32))
    assert np.array_equal(teacher(photo(6, 8), "a").semantic, ids)  # the last part is enough
    assert teacher(photo(6, 8), "any/b").depth == pytest.approx(depth, abs=1 / 256)
    with pytest.raises(DataError, match="no right label map of 'b'. Add the file"):
        teacher(photo(6, 8), "b", "right")
    with pytest.raises(ShapeError, match="the photo is"):
        teacher(photo(12, 16), "a")


def test_files_of_another_drive_are_not_taken(tmp_path: Path) -> None:
    for name, value in (("drive_2/image_02/0000.png", 2), ("image_02/0001.png", 1), ("0002.png", 0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        io.write_label_png(tmp_path / name, np.full((6, 8), value, np.uint8))
    teacher = load_teacher(tmp_path, THREE)
    for frame_id, value in (("drive_2/image_02/0000", 2), ("drive_2/0000", 2), ("0000", 2), ("drive_1/image_02/0001", 1), ("any/0002", 0)):
        assert teacher(photo(6, 8), frame_id).semantic.max() == value
    with pytest.raises(DataError, match="no left label map of 'drive_1/image_02/0000'"):
        teacher(photo(6, 8), "drive_1/image_02/0000")


def test_a_folder_of_left_views_in_the_official_place(tmp_path: Path) -> None:
    place = tmp_path / "gtFine" / "train" / "ulm"
    place.mkdir(parents=True)
    official = np.array([[7, 11, 26, 0]], np.uint8)
    io.write_label_png(place / "ulm_1_2_gtFine_labelIds.png", official)
    io.write_label_png(tmp_path / "plain.png", np.array([[9, 255]], np.uint8))
    seven, nineteen = load_teacher(tmp_path, labels.CITYSCAPES7), load_teacher(tmp_path, labels.CITYSCAPES19)
    assert seven(photo(1, 4), "ulm_1_2").semantic.tolist() == [[0, 1, 6, 255]]
    assert nineteen(photo(1, 4), "ulm_1_2").semantic.tolist() == [[0, 2, 13, 255]]
    assert seven(photo(1, 4), "ulm_1_2", "right") == (None, None, None)
    with pytest.raises(DataError, match="label id 9, 'cityscapes7' has 7 classes"):
        seven(photo(1, 2), "plain")
    with pytest.raises(DataError, match="the data has the label set 'camvid11'"):
        load_teacher(tmp_path, labels.CAMVID11)(photo(1, 4), "ulm_1_2")
    (tmp_path / "plain.semantic.png").write_bytes((tmp_path / "plain.png").read_bytes())
    with pytest.raises(DataError, match="the same frame as"):
        load_teacher(tmp_path, labels.CITYSCAPES7)


def test_colours_are_decoded_and_8_bit_confidence_is_refused(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 2, 255]], np.uint8)
    io.write_image(tmp_path / "a.png", THREE.colour(ids))
    teacher = load_teacher(tmp_path, THREE)
    assert np.array_equal(teacher(photo(1, 4), "a").semantic, ids)
    cv2.imwrite(str(tmp_path / "a.confidence.png"), ids)
    with pytest.raises(DataError, match="8-bit confidence"):
        load_teacher(tmp_path, THREE)(photo(1, 4), "a")


def segformer(folder: Path, names: list[str]) -> Path:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    settings = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )  # fmt: skip
    transformers.SegformerForSemanticSegmentation(settings).save_pretrained(folder)
    transformers.SegformerImageProcessor(size={"height": 64, "width": 96}).save_pretrained(folder)
    return folder


def test_a_segmentation_network_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = segformer(tmp_path / "tiny", ["Road", "traffic_sign", "Car", "unicorn"])
    import torch
    import transformers

    with pytest.raises(ModelError, match=r"tiny: 1 of its 4 classes are not in 'cityscapes19': unicorn"):
        load_teacher(f"hf:{folder}", labels.CITYSCAPES19)
    teacher = load_teacher(f"hf:{folder}", labels.CITYSCAPES19, unmapped="ignore")
    image = photo(100, 130)
    taught = teacher(image, "a")
    # the same network by the library's own way, pixel for pixel
    network = transformers.AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        said = network(**processor(images=image, return_tensors="pt"))
    theirs = processor.post_process_semantic_segmentation(said, target_sizes=[(100, 130)])[0].numpy()
    probability = torch.nn.functional.interpolate(said.logits, (100, 130), mode="bilinear").softmax(1).amax(1)[0].numpy()
    expected = np.array([0, 7, 13, 255], np.uint8)[theirs]
    assert len(np.unique(theirs)) > 1
    differ = taught.semantic != expected
    assert differ.mean() < 1e-3  # ties to the last bit
    assert taught.semantic_confidence[~differ] == pytest.approx(np.where(theirs == 3, 0, probability)[~differ], abs=1e-5)
    assert taught.depth is None and teacher.depth_unit is None
    own = load_teacher(f"hf:{folder}")
    assert own.labels is not None and own.labels.classes == ("Road", "traffic_sign", "Car", "unicorn")


def test_mask_classification_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    backbone = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    settings = transformers.MaskFormerConfig(
        backbone_config=backbone, decoder_config=transformers.DetrConfig(d_model=16, decoder_layers=1, encoder_layers=1, num_queries=5,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2),
        fpn_feature_size=32, mask_feature_size=16, id2label=dict(enumerate(("road", "sky", "car"))),
    )  # fmt: skip
    folder = tmp_path / "masks"
    transformers.MaskFormerForInstanceSegmentation(settings).save_pretrained(folder)
    transformers.MaskFormerImageProcessor(size={"height": 64, "width": 64}, do_resize=True).save_pretrained(folder)
    teacher = load_teacher(f"hf:{folder}", labels.CITYSCAPES19)
    image = photo(40, 60)
    taught = teacher(image, "a")
    with torch.inference_mode():
        said = teacher.network(**teacher.processor(images=image, return_tensors="pt"))  # type: ignore[attr-defined]
    theirs = teacher.processor.post_process_semantic_segmentation(said, target_sizes=[(40, 60)])[0].numpy()  # type: ignore[attr-defined]
    assert np.array_equal(taught.semantic, np.array([0, 10, 13], np.uint8)[theirs])
    assert 0 < taught.semantic_confidence.min() and taught.semantic_confidence.max() <= 1


@pytest.mark.parametrize(("kind", "unit"), [("relative", "inverse"), ("metric", "m"), ("glpn", "m")])
def test_depth_networks_of_transformers(tmp_path: Path, kind: str, unit: str) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    if kind == "glpn":
        settings = transformers.GLPNConfig(
            num_encoder_blocks=4, depths=[1] * 4, sr_ratios=[2, 2, 1, 1], hidden_sizes=[8] * 4, num_attention_heads=[1] * 4,
            mlp_ratios=[2] * 4, decoder_hidden_size=8, max_depth=80,
        )  # fmt: skip
        network, processor = transformers.GLPNForDepthEstimation(settings), transformers.GLPNImageProcessor()
    else:
        backbone = transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2,
            out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
        )  # fmt: skip
        settings = transformers.DepthAnythingConfig(
            backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, patch_size=14,
            head_hidden_size=8, depth_estimation_type=kind, max_depth=80,
        )  # fmt: skip
        network = transformers.DepthAnythingForDepthEstimation(settings)
        processor = transformers.DPTImageProcessor(size={"height": 56, "width": 84}, keep_aspect_ratio=False, ensure_multiple_of=14)
    network.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    teacher = load_teacher(f"hf:{tmp_path}", labels.CITYSCAPES19)
    assert (teacher.labels, teacher.depth_unit) == (None, unit)
    image = photo(64, 96)
    taught = teacher(image, "a")
    assert taught.semantic is None and taught.semantic_confidence is None
    with torch.inference_mode():
        said = network.eval()(**transformers.AutoImageProcessor.from_pretrained(tmp_path)(images=image, return_tensors="pt"))
    theirs = torch.nn.functional.interpolate(said.predicted_depth[None], (64, 96), mode="bicubic", align_corners=False)[0, 0].numpy()
    assert taught.depth == pytest.approx(theirs.clip(min=0), abs=1e-4)
    assert load_teacher(f"hf:{tmp_path}", depth_unit="relative").depth_unit == "relative"


def test_other_tasks_and_missing_models_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.SegformerConfig(architectures=["SegformerForImageClassification"]).save_pretrained(tmp_path / "cats")
    with pytest.raises(ModelError, match="cats: SegformerForImageClassification gives neither semantics nor depth"):
        load_teacher(f"hf:{tmp_path / 'cats'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no model of transformers there"):
        load_teacher(f"hf:{tmp_path / 'empty'}")
    transformers.SegformerConfig(architectures=["SegformerForDepthEstimation"]).save_pretrained(tmp_path / "odd")
    with pytest.raises(ConfigError, match="Say --depth-unit"):
        load_teacher(f"hf:{tmp_path / 'odd'}")


WITHOUT_TORCH = """
import sys
for blocked in ("torch", "torchvision", "transformers", "matplotlib"):
    sys.modules[blocked] = None
import numpy as np
from diorama.cli import EXTRAS
from diorama.data.labels import NYU13
from diorama.running.teachers import fit_relative, load_teacher, metres
taught = load_teacher("ci_net-nyuv2", NYU13, threads=1)(np.zeros((96, 128, 3), np.uint8), "a")
print(taught.semantic.shape, taught.depth.shape, load_teacher(sys.argv[1], NYU13).depth_unit)
try:
    load_teacher("hf:somebody/model")
except ModuleNotFoundError as error:
    print(EXTRAS[error.name])
"""


def test_models_and_folders_teach_without_torch_and_the_extra_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.depth.npy", np.ones((4, 4), np.float32))
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["(96, 128) (96, 128) m", "teachers"]
