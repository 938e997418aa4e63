"""`check` finds what was broken on purpose and nothing else; the contact sheet shows the right colours; `make` stores scenes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama import catalog
from diorama.data import io
from diorama.data.camvid import CamVid
from diorama.data.check import check, check_dataset, check_frame, list_datasets
from diorama.data.fixtures import make, write_camvid, write_folder, write_nyuv2
from diorama.data.folder import Folder
from diorama.data.labels import NYU13
from diorama.data.nyuv2 import NYUv2
from diorama.data.sheet import contact_sheet, plot
from diorama.errors import ConfigError, DataError
from diorama.types import SCENE_KEYS, Frame

Make = Callable[..., Frame]


def errors(findings: list[object]) -> list[str]:
    return [str(finding) for finding in findings if finding.level == "error"]  # type: ignore[attr-defined]


def test_the_list_has_every_data_set() -> None:
    rows = list_datasets()
    assert [row.name for row in rows] == list(catalog.names("datasets"))
    for row in rows:
        assert row.title
        assert row.terms
        assert row.provides
        assert set(row.provides) <= SCENE_KEYS
        assert {"train", "test"} <= set(row.splits)


def test_a_sound_set_has_no_findings(tmp_path: Path, frame: Make) -> None:
    write_nyuv2([frame(k) for k in range(2)], tmp_path, "train")
    write_nyuv2([frame(2)], tmp_path, "test", first=2)
    assert check_dataset("nyuv2", root=tmp_path) == []


def test_every_damage_is_found_once(tmp_path: Path, frame: Make) -> None:
    write_nyuv2([frame(k) for k in range(6)], tmp_path, "train")
    folder = tmp_path / "train"
    (folder / "depth/0000.png").unlink()
    io.write_depth_png(folder / "depth/0001.png", np.ones((6, 8), np.float32), 1000)
    cv2.imwrite(str(folder / "depth/0002.png"), np.ones((12, 16), np.uint8))
    io.write_label_png(folder / "semantic40/0003.png", np.full((12, 16), 99, np.uint8))
    data = (folder / "image/0004.png").read_bytes()
    (folder / "image/0004.png").write_bytes(data[: len(data) // 2])
    found = errors(check(NYUv2(tmp_path, "train")))
    for number, words in enumerate(("missing", "sizes differ", "8-bit PNG", "label id 99", "truncated")):
        about = [text for text in found if f"{number:04d}" in text]
        assert len(about) == 1, about
        assert words in about[0]
    assert len(found) == 5
    assert all("\n" not in text for text in found)


def test_the_same_frame_in_two_splits(tmp_path: Path, frame: Make) -> None:
    write_camvid([frame(k, classes=11) for k in range(3)], tmp_path, "train")
    write_camvid([frame(k, classes=11) for k in range(2, 5)], tmp_path, "test")
    findings = check_dataset("camvid", root=tmp_path)
    assert errors(findings) == ["error: 1 frames are in 'train' and in 'test' (first: scene_2). Take them out of one."]
    assert [finding.split for finding in findings if finding.level == "warning"] == ["val"]
    assert errors(check_dataset("camvid", ["val", "train"], root=tmp_path)) != []


def test_nothing_to_open_is_an_error_itself(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder"):
        check_dataset("nyuv2", root=tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"depth": np.zeros((12, 16), np.float32)}, "no known pixel"),
        ({"depth": np.full((12, 16), np.nan, np.float32)}, "NaN"),
        ({"sparse_depth": np.ones((12, 16), np.float32)}, "sparse_depth is known at 100%"),
        ({"semantic": np.full((12, 16), 13, np.uint8)}, r"label 13 out of range, there are 13 classes"),
        ({"semantic": np.full((12, 16), 255, np.uint8)}, "no pixel has a label"),
        ({"image": np.full((12, 16, 3), 7, np.uint8)}, "one colour only"),
        ({"right": np.zeros((12, 15, 3), np.uint8)}, "the right view is 15x12"),
        ({"baseline": 540.0}, "has to be metres"),
        ({"intrinsics": np.array([[20.0, 0, 800], [0, 20.0, 5], [0, 0, 1]])}, "outside the 16x12 image"),
        ({"intrinsics": np.diag([-20.0, 20.0, 1.0])}, "not positive"),
    ],
)
def test_suspicious_frames(tmp_path: Path, frame: Make, changes: dict[str, object], expected: str) -> None:
    write_folder([frame(0, classes=13, stereo=True)], tmp_path, labels=NYU13)
    dataset = Folder(tmp_path)
    assert check_frame(dataset[0], dataset) == []
    found = check_frame({**dataset[0], **changes}, dataset)  # type: ignore[typeddict-item]
    assert len(found) == 1
    assert expected in found[0][1]
    assert found[0][1].endswith((".", "?"))


def test_right_view_that_is_a_copy_and_missing_keys(tmp_path: Path, frame: Make) -> None:
    write_folder([frame(0, classes=13, stereo=True)], tmp_path, labels=NYU13)
    dataset = Folder(tmp_path)
    read = dataset[0]
    read["right"] = read["image"].copy()
    del read["depth"]
    texts = [text for _, text in check_frame(read, dataset)]
    assert "no 'depth', though" in texts[0]
    assert "copy of the left" in texts[1]


def test_classes_that_never_occur_are_named(tmp_path: Path, frame: Make) -> None:
    made = frame(0, classes=11)
    made["semantic"][made["semantic"] == 7] = 0
    write_camvid([made], tmp_path, "train")
    found = [finding.text for finding in check(CamVid(tmp_path))]
    assert len(found) == 1
    assert found[0].startswith("1 of 11 classes never occur (fence): ")


def spoil_depth(root: Path, number: int) -> None:
    cv2.imwrite(str(root / f"depth/train/scene_{number}.png"), np.ones((12, 16), np.uint8))


def spoil_size(root: Path, number: int) -> None:
    io.write_depth_png(root / f"depth/train/scene_{number}.png", np.ones((6, 8 + number), np.float32), 256)


def spoil_ids(root: Path, number: int) -> None:
    io.write_label_png(root / f"semantic/train/scene_{number}.png", np.full((12, 16), 90 + number, np.uint8))


def spoil_label_colours(root: Path, number: int) -> None:
    io.write_image(root / f"semantic/train/scene_{number}.png", np.full((12, 16, 3), (9, 99, number), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_depth, "8-bit PNG"),
        (spoil_size, "sizes differ"),
        (spoil_ids, "out of range"),
        (spoil_label_colours, "colour-coded"),
    ],
)
def test_one_fault_of_many_frames_is_one_line(tmp_path: Path, frame: Make, spoil: Callable[[Path, int], None], words: str) -> None:
    write_folder([frame(k, classes=13) for k in range(7)], tmp_path, labels=NYU13)
    (tmp_path / "dataset.yaml").write_text(f"classes: {[f'c{k}' for k in range(13)]}\ndepth_scale: 256\n")
    for number in (1, 2, 3, 5):
        spoil(tmp_path, number)
    found = errors(check(Folder(tmp_path)))
    assert len(found) == 1
    assert found[0].startswith("error: 4 of 7 train frames, first ")
    assert words in found[0]
    assert "scene_1" in found[0]
    assert [text.partition("scene_")[2][0] for text in errors(check(Folder(tmp_path), every=True))] == ["1", "2", "3", "5"]


def test_missing_files_are_one_line_of_each_folder(tmp_path: Path, frame: Make) -> None:
    write_nyuv2([frame(k) for k in range(6)], tmp_path, "train")
    for name in ("depth/0000", "depth/0002", "depth/0003", "semantic40/0004"):
        (tmp_path / "train" / f"{name}.png").unlink()
    found = errors(check(NYUv2(tmp_path, "train")))
    assert len(found) == 2
    assert "3 of 6 train frames, first" in found[0]
    assert f"depth{os.sep}0000.png: missing" in found[0]
    assert "0004.png: missing" in found[1]
    assert "frames" not in found[1]


def test_what_train_would_refuse_is_an_error_and_what_it_leaves_out_is_none(tmp_path: Path, frame: Make) -> None:
    write_folder([frame(k, classes=13) for k in range(4)], tmp_path, labels=NYU13)
    sorted((tmp_path / "depth").rglob("*.png"))[1].unlink()
    with pytest.raises(DataError, match="3 of 4 train frames") as refused:
        Folder(tmp_path)
    write_folder([frame(k, classes=13) for k in range(10, 14)], tmp_path, "val", NYU13)
    findings = check_dataset("folder", root=tmp_path)
    assert [(found.level, found.text) for found in findings if found.split == "train"] == [("error", str(refused.value))]
    keys = str(refused.value).partition("[")[2].rstrip("]").split(",")
    left = [found for found in check_dataset("folder", ["train"], root=tmp_path, keys=keys) if found.split == "train"]
    assert [found.level for found in left] == ["warning"]
    assert "1 frames have no depth" in left[0].text


def test_progress_is_told(tmp_path: Path, frame: Make) -> None:
    write_camvid([frame(k, classes=11) for k in range(5)], tmp_path, "train")
    seen: list[tuple[int, int]] = []
    check(CamVid(tmp_path), 3, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_contact_sheet_shows_image_and_label_colours(frame: Make) -> None:
    made = frame(0, classes=13, size=(60, 80), stereo=True)
    made["semantic"][:] = 3
    made["image"][:] = (10, 200, 30)
    made["sparse_depth"] = made["depth"] * (np.arange(80) % 9 == 0)
    sheet = contact_sheet([made, made], NYU13, width=80, title="two frames")
    colours, counts = np.unique(sheet.reshape(-1, 3), axis=0, return_counts=True)
    found = {tuple(int(v) for v in colour): int(count) for colour, count in zip(colours, counts, strict=True)}
    assert found[10, 200, 30] == 2 * 60 * 80
    assert found[NYU13.palette[3]] >= 2 * 60 * 80
    assert sheet.shape[0] > 2 * 60
    assert sheet.shape[1] > 5 * 80


def test_near_is_brighter_than_far(frame: Make) -> None:
    made: Frame = {"depth": np.geomspace(1, 10, 100, dtype=np.float32)[None].repeat(40, 0), "meta": {}}
    sheet = contact_sheet([made], None, width=100)
    row = sheet[sheet.shape[0] - 28, 8:108].astype(int).sum(-1)
    assert row[0] > row[40] > row[99]


def test_pseudo_labels_stand_beside_the_truth_on_one_scale() -> None:
    depth = np.geomspace(1, 10, 100, dtype=np.float32)[None].repeat(40, 0)
    share = np.repeat(np.float32([0, 0.5, 1, 1]), 25)[None].repeat(40, 0)
    made: Frame = {"depth": depth, "pseudo_depth": np.where(depth < 3, depth, 0), "confidence": share, "meta": {}}
    labels = np.full((40, 100), 3, np.uint8)
    sheet = contact_sheet([{**made, "semantic_right": labels}], NYU13, width=100)
    cell, row = 100 + 62 + 8, 40
    true, pseudo, shown = (sheet[row, start : start + 100].astype(int) for start in (8, 8 + cell, 8 + 2 * cell))
    assert np.array_equal(pseudo[depth[0] < 3], true[depth[0] < 3])
    assert (pseudo[depth[0] >= 3] == pseudo[-1]).all()  # unknown
    assert shown[[10, 30, 60, 90]].tolist() == [[0] * 3, [128] * 3, [255] * 3, [255] * 3]
    assert tuple(sheet[row, 8 + 3 * cell + 50]) == NYU13.palette[3]


def test_plot_writes_a_picture(tmp_path: Path, frame: Make) -> None:
    write_camvid([frame(k, classes=11) for k in range(3)], tmp_path, "val")
    assert plot(CamVid(tmp_path, "val"), tmp_path / "out" / "sheet.png", frames=2, width=48) == tmp_path / "out" / "sheet.png"
    assert io.read_image(tmp_path / "out" / "sheet.png").shape[1] >= 2 * 48


@pytest.mark.parametrize(("frames", "width"), [(0, 48), (2, 0), (-1, 48)])
def test_a_sheet_without_rows_or_width_is_refused(tmp_path: Path, frame: Make, frames: int, width: int) -> None:
    write_camvid([frame(0, classes=11)], tmp_path, "val")
    with pytest.raises(ConfigError, match="Choose --frames of 1 or more"):
        plot(CamVid(tmp_path, "val"), tmp_path / "sheet.png", frames=frames, width=width)
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(("name", "layout"), [("world_indoor", "folder"), ("world_indoor", "nyuv2"), ("world_street", "cityscapes")])
def test_make_stores_procedural_scenes_that_read_back(tmp_path: Path, name: str, layout: str) -> None:
    stereo = layout == "cityscapes"
    images = make(name, tmp_path / "set", layout, 1, "train", size=(32, 48), stereo=stereo)
    assert len(images) == 1
    made = catalog.dataset(name)(frames=1, split="train", size=(32, 48), stereo=stereo)[0]
    arguments = {"classes": 13} if layout == "nyuv2" else {"keys": ("image", "right", "semantic", "depth")} if stereo else {}
    read = catalog.dataset(layout)(tmp_path / "set", "train", **arguments)[0]
    for key in ("image", "semantic", *(["right"] if stereo else [])):
        assert np.array_equal(read[key], made[key]), key
    step = (read["depth"] ** 2 / (made["baseline"] * made["intrinsics"][0, 0]) if stereo else np.ones((32, 48))) / 256
    assert (np.abs(read["depth"] - made["depth"]) <= step).all()
    with pytest.raises(DataError, match=r"exists already"):
        make(name, tmp_path / "set", layout, 1, "train", size=(32, 48))


def test_make_refuses_what_a_layout_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'nyuv2'"):
        make("world_indoor", tmp_path, "nyu2")
    with pytest.raises(DataError, match=r"labels of 'nyu13' cannot be stored as 'camvid11'. Choose layout=folder"):
        make("world_indoor", tmp_path / "new", "camvid", 1, size=(32, 48))
