"""Each planted defect is found by its rule, in frames stored and read again; the same frames without it raise no alarm."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from diorama import catalog
from diorama.cli import main
from diorama.data import io
from diorama.data.check import check, check_dataset
from diorama.data.defects import RULES, Examination, twins
from diorama.data.defects.rule import Finding
from diorama.data.fixtures import WRITERS, write_cityscapes, write_folder, write_potsdam
from diorama.data.folder import Folder
from diorama.data.labels import CITYSCAPES19, ISPRS6, NYU13, LabelSet
from diorama.data.sparsify import Sparsify, sparsify
from diorama.data.world.dataset import WorldStreet
from diorama.types import Frame

Change = Callable[[Frame], dict[str, Any]]


class Scenes:
    """A few frames of each world, drawn once."""

    def __init__(self) -> None:
        makes: dict[str, dict[str, Any]] = {
            "world_indoor": {"size": (192, 256)},
            "world_street": {"size": (192, 384)},
            "world_aerial": {"size": (192, 192)},
        }
        self.frames: dict[str, list[Frame]] = {}
        self.labels: dict[str, LabelSet | None] = {}
        for name, settings in makes.items():
            dataset = catalog.dataset(name)(frames=3, **settings)
            self.frames[name], self.labels[name] = list(dataset), dataset.labels


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes()


def examined(frames: list[Frame], labels: LabelSet | None) -> list[Finding]:
    examination = Examination(labels, len(frames))
    for number, frame in enumerate(frames):
        examination.look(number, f"frame {number}", frame)
    return examination.findings("train")


def rules(findings: list[Finding]) -> dict[str, str]:
    return {finding.rule: finding.level for finding in findings if finding.rule}


def stored(frames: list[Frame], root: Path, labels: LabelSet | None, keys: tuple[str, ...], change: Change, **settings: Any) -> Folder:
    """The frames in the `folder` layout with what `change` makes of them; `settings` go into dataset.yaml."""
    write_folder([{**{k: v for k, v in f.items() if k in (*keys, "meta")}, **change(f)} for f in frames], root, labels=labels)  # type: ignore[misc]
    if settings:
        path = root / "dataset.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))
    return Folder(root)


def nothing(frame: Frame) -> dict[str, Any]:
    return {}


def inverted(frame: Frame) -> dict[str, Any]:
    return {"depth": np.where(frame["depth"] > 0, 60 / frame["depth"].clip(0.1), 0).astype(np.float32)}


def halved(frame: Frame) -> dict[str, Any]:
    """Points and labels made half as large as photos are."""
    size = frame["image"].shape[1] * 2 // 3, frame["image"].shape[0] * 2 // 3
    return {
        "image": cv2.resize(frame["image"], size),
        "sparse_depth": cv2.resize(frame["sparse_depth"], size, interpolation=cv2.INTER_LINEAR),
    }


FOLDER = [
    ("scale", "error", "world_indoor", ("image", "depth", "intrinsics"), nothing, {"depth_scale": 0.256}, "millimetres read as metres"),
    ("scale", "error", "world_street", ("image", "depth"), nothing, {"depth_scale": 2.56}, "centimetres read as metres"),
    ("scale", "warning", "world_street", ("image", "depth", "intrinsics"), nothing, {"depth_scale": 256 / 3.9}, "m below the camera"),
    ("scale", "warning", "world_indoor", ("image", "depth"), nothing, {"depth_scale": 256000}, "a scale too large"),
    ("disparity", "error", "world_street", ("image",), inverted, {}, "planar patches, as disparity is"),
    ("disparity", "error", "world_indoor", ("image", "intrinsics"), inverted, {}, "planar patches, as disparity is"),
    ("pair", "error", "world_street", ("image", "right", "depth", "intrinsics"), nothing, {"baseline": 0.44}, "baseline"),
    ("pair", "error", "world_indoor", ("image", "right", "disparity"), nothing, {"disparity_scale": 64}, "times what the two views show"),
    ("resized_depth", "error", "world_street", ("intrinsics",), halved, {}, "mixed with the 0 of unknown"),
    ("resized_depth", "error", "world_indoor", ("intrinsics",), halved, {}, "mixed with the 0 of unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "level", "world", "keys", "change", "settings", "words"), FOLDER)
def test_planted_in_own_folders(
    tmp_path: Path,
    scenes: Scenes,
    rule: str,
    level: str,
    world: str,
    keys: tuple[str, ...],
    change: Change,
    settings: dict[str, Any],
    words: str,
) -> None:
    frames = scenes.frames[world]
    if "baseline" in settings:  # each camera file would say it as well
        frames = [{k: v for k, v in frame.items() if k != "baseline"} for frame in frames]  # type: ignore[misc]
    wanted = (*keys, *(("sparse_depth",) if change is halved else ()))
    clean = stored(frames, tmp_path / "clean", None, wanted, nothing, **({"baseline": 0.22} if "baseline" in settings else {}))
    assert rules(check(clean)) == {}
    found = [finding for finding in check(stored(frames, tmp_path / "bad", None, keys, change, **settings)) if finding.rule]
    assert [(finding.rule, finding.level) for finding in found] == [(rule, level)]
    assert words in found[0].text
    assert found[0].text.endswith(".")


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0])
@pytest.mark.parametrize("world", ["world_indoor", "world_street", "world_aerial"])
def test_label_maps_resized_as_photos(tmp_path: Path, scenes: Scenes, world: str, factor: float) -> None:
    frames, labels = scenes.frames[world], scenes.labels[world]

    def with_labels(interpolation: int) -> Change:
        return lambda frame: {"semantic": cv2.resize(frame["semantic"], None, fx=factor, fy=factor, interpolation=interpolation)}

    assert "resized_labels" not in rules(check(stored(frames, tmp_path / "a", labels, (), with_labels(cv2.INTER_NEAREST))))
    semantic = [{"semantic": with_labels(cv2.INTER_LINEAR)(frame)["semantic"]} for frame in frames]  # ids without a class may occur
    assert rules(examined(semantic, labels))["resized_labels"] == "error"  # type: ignore[arg-type]


def test_a_wrong_camera_file_of_cityscapes(tmp_path: Path, scenes: Scenes) -> None:
    frames = scenes.frames["world_street"]
    write_cityscapes(frames, tmp_path, "train")
    keys = ["image", "right", "disparity", "depth", "intrinsics", "baseline"]
    assert rules(check_dataset("cityscapes", ["train"], root=tmp_path, keys=keys)) == {}
    for path in tmp_path.glob("camera/train/*/*.json"):
        path.write_text(path.read_text().replace(f'"baseline": {frames[0]["baseline"]}', '"baseline": 2.2'))
    found = check_dataset("cityscapes", ["train"], root=tmp_path, keys=keys)
    assert rules(found) == {"scale": "warning"}  # depth, disparity and pair agree; the camera would be ten times as high
    assert "the focal length or the baseline wrong" in found[-1].text


def test_a_surface_model_and_other_bands_in_potsdam(tmp_path: Path, scenes: Scenes) -> None:
    write_potsdam(scenes.frames["world_aerial"], tmp_path / "set", "train")
    settings = {"site": "potsdam", "bands": "rgb", "gsd": 0.05, "keys": ("image", "semantic", "depth")}
    isprs = catalog.dataset("isprs")
    assert rules(check(isprs(tmp_path / "set", **settings))) == {}
    assert rules(check(isprs(tmp_path / "set", **settings, heights="dsm"))) == {}  # asked for
    shutil.copytree(tmp_path / "set", tmp_path / "bad")
    for path in (tmp_path / "bad" / "2_Ortho_RGB").iterdir():
        path.rename(path.with_name(path.name.replace("RGB", "IRRG")))
    for path in (tmp_path / "bad" / "1_DSM").iterdir():
        normal = tmp_path / "bad" / "1_DSM_normalisation" / f"{path.stem}_normalized_lastools.tif"
        shutil.copy(path, normal)
    found = check(isprs(tmp_path / "bad", **{**settings, "bands": "irrg"}))
    assert rules(found) == {"bands": "error"}
    assert any("a DSM, not heights above ground" in finding.text for finding in found)  # the reader says it itself


def test_a_surface_model_without_a_reader_that_looks(scenes: Scenes) -> None:
    frames, labels = scenes.frames["world_aerial"], scenes.labels["world_aerial"]
    raised = [{**frame, "depth": frame["depth"] + np.float32(32)} for frame in frames]
    assert rules(examined(raised, labels)) == {"dsm": "error"}  # type: ignore[arg-type]
    centimetres = [{**frame, "depth": frame["depth"] * np.float32(100)} for frame in frames]
    assert rules(examined(centimetres, labels))["scale"] == "error"  # type: ignore[arg-type]
    house = np.pad(np.full((40, 40), 8, np.float32), 20, constant_values=np.float32(1 / 128))
    assert rules(examined([{"depth": house, "semantic": (house > 1).astype(np.uint8)}], ISPRS6)) == {}
    shifted: Frame = {"depth": house, "semantic": np.where(house > 1, 2, 1).astype(np.uint8)}  # the house is now low vegetation
    assert rules(examined([shifted], ISPRS6)) == {"dsm": "warning"}


def test_infrared_in_own_folders(tmp_path: Path) -> None:
    frames = list(catalog.dataset("world_aerial")(frames=2, size=(192, 192), city="b", bands="irrg"))
    found = check(stored(frames, tmp_path, ISPRS6, ("image", "semantic"), nothing))
    assert rules(found) == {"bands": "warning"}
    write_folder(({"image": f["image"], "meta": f["meta"]} for f in frames), tmp_path / "photos")  # no labels, nobody says it is from above
    assert rules(check(Folder(tmp_path / "photos"))) == {}


def test_exchanged_views(scenes: Scenes) -> None:
    for world in ("world_street", "world_indoor"):
        swapped = [{**frame, "image": frame["right"], "right": frame["image"]} for frame in scenes.frames[world]]
        found = examined(swapped, None)  # type: ignore[arg-type]
        assert rules(found) == {"pair": "error"}
        assert "Swap left and right" in found[0].text


def test_depth_and_disparity_that_disagree(scenes: Scenes) -> None:
    frames = scenes.frames["world_street"]
    wrong = [{**frame, "baseline": frame["baseline"] * 2} for frame in frames]
    found = examined(wrong, None)  # type: ignore[arg-type]
    assert rules(found) == {"calibration": "error"}  # once, not once more by the pair
    base = frames[0]["baseline"]
    assert f"a baseline of {base:.3g} m would fit, {2 * base:.3g} m is given" in found[0].text
    exchanged = [{**frame, "depth": frame["disparity"]} for frame in frames]
    assert rules(examined(exchanged, None)) == {"disparity": "error"}  # type: ignore[arg-type]
    of_another = [{**one, "depth": other["depth"]} for one, other in zip(frames, frames[1:] + frames[:1], strict=True)]
    assert not {"scale", "disparity"} & set(rules(examined(of_another, None)))  # type: ignore[arg-type]


def test_void_stored_as_class_0() -> None:
    parts = (np.add.outer(np.arange(96) // 24, np.arange(120) // 24) % 4 + 1).astype(np.uint8)
    outline = (np.arange(96)[:, None] % 24 < 2) | (np.arange(120) % 24 < 2)
    found = examined([{"semantic": np.where(outline, 0, parts).astype(np.uint8)}], ISPRS6)
    assert rules(found) == {"label_ids": "warning"}
    assert "class 0 is the strip between the others on 100%" in found[0].text
    assert examined([{"semantic": (parts - 1).astype(np.uint8)}], ISPRS6) == []


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        (lambda s: s + 1, "error", "is 0 void, and every id one too high"),
        (lambda s: s * 19, "error", "are they colours, grey values or raw ids"),
        (lambda s: np.where(np.arange(s.size).reshape(s.shape) % 20 > 0, 255, s), "warning", "95% of the pixels are ignored"),
    ],
)
def test_ids_that_are_no_classes(change: Callable[[Any], Any], level: str, words: str) -> None:
    semantic = (np.add.outer(np.arange(96) // 8, np.arange(120) // 8) % 13).astype(np.uint8)
    assert examined([{"semantic": semantic}], NYU13) == []
    found = examined([{"semantic": change(semantic).astype(np.uint8)}], NYU13)
    assert rules(found) == {"label_ids": level}
    assert words in found[0].text


def test_a_mask_of_0_and_255_is_no_label_map_of_two_classes(tmp_path: Path) -> None:
    mask = np.where(np.arange(96) < 60, 0, 255).astype(np.uint8)[:, None].repeat(120, 1)
    for stem in "abc":
        io.write_label_png(tmp_path / "semantic/train" / f"{stem}.png", mask)
    (tmp_path / "dataset.yaml").write_text("classes: [background, floor]\n")
    found = check(Folder(tmp_path))
    assert [(one.level, one.rule) for one in found] == [("error", "label_ids")]
    assert "255 means 'ignore' and is the only value besides 0 in all of 3 frames: write `ids: [0, 255]`" in found[0].text
    (tmp_path / "dataset.yaml").write_text("classes: [background, floor]\nids: [0, 255]\n")
    assert check(Folder(tmp_path)) == []
    two = LabelSet("two", ("background", "floor"), ((1, 2, 3), (4, 5, 6)))
    masks: list[Frame] = [{"semantic": mask}] * 3
    assert rules(examined(masks, two)) == {"label_ids": "error"}
    assert rules(examined(masks[:2], two)) == {}  # may be out of sight
    assert rules(examined([*masks, {"semantic": np.minimum(mask, 1)}], two)) == {}
    assert rules(examined(masks, NYU13)) == {}


def test_the_reader_tells_of_ids_and_colours_of_own_folders(tmp_path: Path) -> None:
    semantic = (np.add.outer(np.arange(96) // 8, np.arange(120) // 8) % 13).astype(np.uint8)
    for name, image in (("void", semantic + 1), ("grey", semantic * 19)):
        write_folder([{"semantic": semantic, "meta": {"id": "a"}}], tmp_path / name, labels=NYU13)
        io.write_label_png(tmp_path / name / "semantic/train/a.png", image.astype(np.uint8))
        assert "out of range, 'void' has 13" in check(Folder(tmp_path / name))[0].text.replace("'grey'", "'void'")
    write_folder([{"semantic": semantic, "meta": {"id": "a"}}], tmp_path / "colours", labels=NYU13)
    io.write_image(tmp_path / "colours/semantic/train/a.png", NYU13.colour(semantic))
    (tmp_path / "colours/dataset.yaml").write_text("classes: [a, b]\n")
    assert "a colour-coded label map" in check(Folder(tmp_path / "colours"))[0].text


def test_things_before_the_sky_of_small_frames_are_no_mixed_depths() -> None:
    drawn = WorldStreet(split="train", frames=6, size=(96, 192), style="mill", stereo=False)
    frames: list[Frame] = [{"depth": frame["depth"]} for frame in drawn]
    assert "resized_depth" not in rules(examined(frames, None))


def test_sparse_depth_of_another_scale_than_dense_depth(scenes: Scenes) -> None:
    frames: list[Frame] = []
    for number, frame in enumerate(scenes.frames["world_indoor"]):
        sparse = sparsify(frame["depth"], Sparsify(points=300), number)
        small = cv2.resize(sparse, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_LINEAR)  # each point becomes a quarter of its depth
        frames.append({"depth": frame["depth"][::2, ::2], "sparse_depth": small})
    found = examined(frames, None)
    assert rules(found) == {"resized_depth": "error"}
    assert "sparse_depth is 0.25 times depth" in found[0].text


def test_the_same_pictures_in_two_splits(tmp_path: Path, scenes: Scenes) -> None:
    street, indoor = scenes.frames["world_street"], scenes.frames["world_indoor"]
    write_folder(
        [{"image": frame["image"], "meta": {"id": f"photo {number}"}} for number, frame in enumerate([*street, *indoor])], tmp_path
    )
    write_folder([{"image": street[1]["image"], "meta": {"id": "other_name"}}], tmp_path, "val")
    small = cv2.resize(indoor[2]["image"], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    io.write_image(tmp_path / "images/test/smaller.jpg", small)
    found = [f for f in check_dataset("folder", ["train", "val"], root=tmp_path) if f.rule]
    assert rules(found) == {"twins": "error"}
    assert "1 frames of 'val' are in 'train' under another name (first: other_name is photo_1)" in found[0].text
    found = [f for f in check_dataset("folder", ["train", "test"], root=tmp_path) if f.rule]
    assert [(f.rule, f.level, f.frame) for f in found] == [("twins", "warning", "smaller")]
    assert "(first: smaller of photo_5)" in found[0].text


def test_neighbours_of_a_film_are_no_twins(scenes: Scenes) -> None:
    image = cv2.resize(scenes.frames["world_street"][0]["image"], (768, 384))
    moved = np.roll(image, 4, axis=1)
    with_car = image.copy()
    with_car[200:260, 300:380] = 200
    first = twins.fingerprint({"image": image}, "a")
    assert first is not None
    for other in (moved, with_car):
        second = twins.fingerprint({"image": other}, "b")
        assert second is not None
        assert twins.shared_pictures([("train", [first]), ("test", [second])]) == []
    assert twins.fingerprint({"image": np.zeros((64, 64, 3), np.uint8)}, "black") is None


@pytest.mark.parametrize("world", ["world_indoor", "world_street", "world_aerial"])
def test_mild_changes_raise_no_alarm(scenes: Scenes, world: str) -> None:
    frames, labels = scenes.frames[world], scenes.labels[world]
    for name, changed in variations(frames):
        assert examined(changed, labels) == [], name


def variations(frames: list[Frame]) -> Iterator[tuple[str, list[Frame]]]:
    """The frames as they are, one by one, mirrored, without a camera, resized to the nearest pixel, and cropped."""
    yield "as they are", frames
    yield from ((f"frame {number}", [frame]) for number, frame in enumerate(frames))
    maps = ("image", "semantic", "depth", "sparse_depth")
    alone: list[Frame] = [{k: v for k, v in f.items() if k in (*maps, "meta")} for f in frames]  # type: ignore[misc]
    yield "mirrored", [{k: v[:, ::-1] if k in maps else v for k, v in f.items()} for f in alone]  # type: ignore[attr-defined, misc]
    for factor in (0.5, 0.7, 1.4):
        yield (
            f"times {factor}",
            [
                {k: cv2.resize(v, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) if k in maps else v for k, v in f.items()}
                for f in alone  # type: ignore[misc]
            ],
        )
    for top, bottom, left, right in ((0.0, 0.7, 0.0, 1.0), (0.3, 1.0, 0.1, 0.9), (0.0, 1.0, 0.5, 1.0)):
        cropped = []
        for frame in frames:
            height, width = frame["depth"].shape
            rows, columns = slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
            part = {k: v[rows, columns] if k in (*maps, "right", "disparity") else v for k, v in frame.items()}  # type: ignore[index]
            if "intrinsics" in frame:
                matrix = frame["intrinsics"].copy()
                matrix[:2, 2] -= columns.start, rows.start
                part["intrinsics"] = matrix
            cropped.append(part)
        yield f"rows {top} to {bottom}, columns {left} to {right}", cropped  # type: ignore[misc]


def test_only_a_sample_is_measured_unless_all_are_asked_for(monkeypatch: pytest.MonkeyPatch, scenes: Scenes) -> None:
    dataset = catalog.dataset("world_indoor")(frames=60, size=(16, 16))
    monkeypatch.setattr(type(dataset), "frame", lambda self, index: {**scenes.frames["world_indoor"][0], "meta": {"id": index}})
    looked: list[int] = []
    monkeypatch.setattr(Examination, "look", lambda self, number, frame_id, frame: looked.append(number))
    check(dataset)
    assert looked == list(range(50))
    looked.clear()
    check(dataset, every=True)
    assert looked == list(range(60))
    looked.clear()
    check(dataset, 7)
    assert looked == list(range(7))


def test_rules_have_names_of_their_own_and_pass_over_strange_frames() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    strange: list[Frame] = [{}, {"depth": np.full((64, 64), np.nan, np.float32)}, {"depth": np.zeros((64, 64), np.float32)}]
    strange.append({"semantic": np.full((64, 64), 255, np.uint8), "image": np.zeros((64, 64, 3), np.uint8)})
    strange.append(
        {"image": np.zeros((64, 300, 3), np.uint8), "right": np.zeros((64, 300, 3), np.uint8), "disparity": np.ones((64, 300), np.float32)}
    )
    for frame in strange:
        assert set(rules(examined([frame], CITYSCAPES19))) <= {"label_ids"}


def test_the_verb_ends_with_1_on_an_error_and_0_on_a_warning(tmp_path: Path, scenes: Scenes, capsys: pytest.CaptureFixture[str]) -> None:
    stored(scenes.frames["world_street"], tmp_path, None, ("image", "depth", "intrinsics"), nothing, depth_scale=0.256)
    assert main(["data", "check", "folder", "--data.root", str(tmp_path), "--splits", "[train]"]) == 1
    assert "millimetres read as metres" in capsys.readouterr().out
    (tmp_path / "dataset.yaml").write_text(f"depth_scale: {256 / 3.9}\n")
    assert main(["data", "check", "folder", "--data.root", str(tmp_path), "--splits", "[train]", "--all"]) == 0
    assert "1 warnings" in capsys.readouterr().out
    assert "folder" in WRITERS
