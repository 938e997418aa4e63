"""Pseudo labels read back: exact against what was stored, thresholds by hand, and named errors for what is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diorama.config import read_config
from diorama.data import io
from diorama.data.base import SceneDataset
from diorama.data.cache import CachedDataset, fingerprint
from diorama.data.cityscapes import Cityscapes
from diorama.data.fixtures import make
from diorama.data.labels import CITYSCAPES7, CITYSCAPES19, LabelSet
from diorama.data.world.dataset import WorldStreet
from diorama.errors import ConfigError, DataError, ShapeError
from diorama.running.pseudo_label import pseudo_label
from diorama.stereo import pseudo_folder
from diorama.stereo.labelled import PseudoLabelled
from diorama.stereo.labelling import Labelling
from diorama.stereo.pseudo_folder import PseudoFolder, begin
from diorama.stereo.pseudo_settings import Pseudo
from diorama.types import IGNORE

SIZE = (64, 192)
KEYS = ("image", "right", "intrinsics", "baseline")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled") / "city"
    make("world_street", root, "cityscapes", 2, "train", size=SIZE)
    return root


def some_maps(seed: int) -> dict[str, NDArray[Any]]:
    """Every kind, with values that their files hold exactly."""
    random = np.random.default_rng(seed)
    maps: dict[str, NDArray[Any]] = {}
    for view in ("", "_right"):
        maps[f"disparity{view}"] = (random.integers(1, 40 * 256, SIZE) / 256).astype(np.float32)
        maps[f"depth{view}"] = (random.integers(1, 80 * 256, SIZE) / 256).astype(np.float32)
        maps[f"confidence{view}"] = (random.integers(0, 65536, SIZE) / np.float32(65535)).astype(np.float32)
        maps[f"agrees{view}"] = random.random(SIZE) < 0.7
        maps[f"semantic{view}"] = np.where(random.random(SIZE) < 0.1, IGNORE, random.integers(0, 19, SIZE)).astype(np.uint8)
        maps[f"semantic_confidence{view}"] = (random.integers(0, 65536, SIZE) / np.float32(65535)).astype(np.float32)
    maps["disparity"][0, :5] = 0
    return maps


def store(
    dataset: SceneDataset, root: Path, kinds: tuple[str, ...] | None = None, labels: LabelSet = CITYSCAPES19, **facts: Any
) -> list[dict[str, NDArray[Any]]]:
    """A folder of pseudo labels of every frame, without the verb."""
    settings = {
        "format": 1,
        "data": {"name": dataset.name},
        "labelling": Labelling(tolerance=2.0).to_dict(),
        "labels": {"name": labels.name, "classes": list(labels.classes), "palette": [list(colour) for colour in labels.palette]},
    }
    mark = begin(root, settings)
    folder, stored = PseudoFolder(root, dataset, labels), []
    for number, frame_id in enumerate(dataset.ids):
        maps = {kind: values for kind, values in some_maps(number).items() if kinds is None or kind in kinds}
        for kind, values in maps.items():
            assert folder.write(kind, frame_id, values) == 0
        folder.keep(frame_id, {"settings": mark, "kinds": sorted(maps), "tau": None, "tau_right": None, **facts})
        stored.append(maps)
    return stored


def test_every_kind_comes_back_exactly(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    stored = store(dataset, tmp_path)
    folder = PseudoFolder(tmp_path, dataset, CITYSCAPES19)
    for frame_id, maps in zip(dataset.ids, stored, strict=True):
        for kind, values in maps.items():
            found = folder.read(kind, frame_id)
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values, err_msg=kind)
    assert set(maps) | {"teacher_depth", "teacher_depth_right"} == set(pseudo_folder.KINDS)
    # the official places hold official encodings
    ids = io.read_labels(tmp_path / "gtFine" / "train" / "diorama" / f"{dataset.ids[0]}_gtFine_labelIds.png")
    assert ids[stored[0]["semantic"] == 0].min() == ids[stored[0]["semantic"] == 0].max() == 7  # road
    units = io.read_labels(tmp_path / "disparity" / "train" / "diorama" / f"{dataset.ids[0]}_disparity.png")
    assert units[0, 0] == 0
    np.testing.assert_array_equal(units[1:], (stored[0]["disparity"][1:] * 256 + 1).astype(np.uint16))


def test_depth_and_confidence_of_both_views(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    stored = store(dataset, tmp_path)
    labelled = PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    assert labelled.provides == {
        *KEYS,
        "pseudo_depth",
        "pseudo_depth_right",
        "confidence",
        "confidence_right",
        "semantic",
        "semantic_right",
    }
    assert (labelled.ids, labelled.split, labelled.root) == (dataset.ids, "train", city)
    assert labelled.labels is not None
    assert labelled.labels.classes == CITYSCAPES19.classes
    for number, maps in enumerate(stored):
        frame = labelled[number]
        focal, baseline = frame["intrinsics"][0, 0], frame["baseline"]
        for view in ("", "_right"):
            disparity, raw = maps[f"disparity{view}"].astype(np.float64), maps[f"confidence{view}"].astype(np.float64)
            with np.errstate(divide="ignore"):
                depth = np.where(disparity > 0, focal * baseline / disparity, 0)
            np.testing.assert_allclose(frame[f"pseudo_depth{view}"], depth, rtol=1e-6)  # type: ignore[literal-required]
            soft = np.where(disparity > 0, 1 / (1 + np.exp(-10 * (raw - 0.5))), 0)
            np.testing.assert_allclose(frame[f"confidence{view}"], soft, atol=1e-6)  # type: ignore[literal-required]
            assert frame[f"confidence{view}"].dtype == frame[f"pseudo_depth{view}"].dtype == np.float32  # type: ignore[literal-required]
        np.testing.assert_array_equal(frame["semantic"], maps["semantic"])
        np.testing.assert_array_equal(frame["semantic_right"], maps["semantic_right"])
    assert frame["confidence"][0, 0] == 0 or stored[0]["disparity"][0, 0] > 0
    assert labelled[0]["confidence"][0, :5].max() == 0


def test_thresholds(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    maps = store(dataset, tmp_path, tau=0.2, tau_right=0.9)[0]
    asked = Pseudo(str(tmp_path))

    def confidence(view: str = "", **settings: Any) -> NDArray[np.float32]:
        return PseudoLabelled(dataset, replace(asked, **settings))[0][f"confidence{view}"]  # type: ignore[literal-required, no-any-return]

    rows = slice(1, None)  # disparity is known everywhere below the first row
    raw, right = maps["confidence"][rows], maps["confidence_right"]
    np.testing.assert_allclose(confidence()[rows], 1 / (1 + np.exp(-10 * (raw - 0.2))), atol=1e-6)
    np.testing.assert_allclose(confidence("_right"), 1 / (1 + np.exp(-10 * (right - 0.9))), atol=1e-6)
    np.testing.assert_allclose(confidence(eps=3.0, tau=0.4)[rows], 1 / (1 + np.exp(-3 * (raw - 0.4))), atol=1e-6)
    np.testing.assert_array_equal(confidence(threshold="hard")[rows], raw >= np.float32(0.2))
    np.testing.assert_array_equal(confidence("_right", threshold="hard", tau=0.5), right >= np.float32(0.5))
    np.testing.assert_array_equal(confidence(threshold="none")[rows], raw)
    np.testing.assert_array_equal(confidence(threshold="none", check=True)[rows], np.where(maps["agrees"][rows], raw, 0))
    assert confidence(threshold="hard", tau=0.0)[0, 0] == 0  # no disparity, no trust


def test_a_folder_without_confidence_counts_each_pixel_alike(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    maps = store(dataset, tmp_path, ("disparity", "agrees"))[0]
    with pytest.raises(ConfigError, match=r"holds no confidence\. Make it with --save, or set pseudo\.threshold: none"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    labelled = PseudoLabelled(dataset, Pseudo(str(tmp_path), threshold="none"))
    assert labelled.provides == {*KEYS, "pseudo_depth", "confidence"}
    np.testing.assert_array_equal(labelled[0]["confidence"], maps["disparity"] > 0)


def test_depth_files_serve_where_there_is_no_disparity(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=("image", "right"))
    maps = store(dataset, tmp_path, ("depth", "confidence"))[0]
    np.testing.assert_array_equal(PseudoLabelled(dataset, Pseudo(str(tmp_path)))[0]["pseudo_depth"], maps["depth"])


def test_calibration_of_the_record_serves_where_the_frame_has_none(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=("image", "right"))
    maps = store(dataset, tmp_path / "with", ("disparity", "confidence"), focal_px=500.0, baseline=0.5)[0]
    found = PseudoLabelled(dataset, Pseudo(str(tmp_path / "with")))[0]["pseudo_depth"]
    np.testing.assert_allclose(found[1:], 250 / maps["disparity"][1:], rtol=1e-6)
    store(dataset, tmp_path / "without", ("disparity", "confidence"))
    with pytest.raises(DataError, match="Ask for intrinsics and baseline"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path / "without")))[0]


def test_labels_of_data_and_of_the_teacher(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=(*KEYS, "semantic"))
    maps = store(dataset, tmp_path)[0]
    asked = Pseudo(str(tmp_path))
    truth = dataset[0]["semantic"]
    auto, pseudo, none = (PseudoLabelled(dataset, replace(asked, labels=which)) for which in ("auto", "pseudo", "truth"))
    np.testing.assert_array_equal(auto[0]["semantic"], truth)
    np.testing.assert_array_equal(auto[0]["semantic_right"], maps["semantic_right"])
    np.testing.assert_array_equal(pseudo[0]["semantic"], maps["semantic"])
    np.testing.assert_array_equal(none[0]["semantic"], truth)
    assert "semantic_right" not in none.provides | none[0].keys()
    sure = PseudoLabelled(dataset, replace(asked, labels="pseudo", semantic_tau=0.6))[0]
    for view in ("", "_right"):
        expected = np.where(maps[f"semantic_confidence{view}"] < 0.6, IGNORE, maps[f"semantic{view}"])
        np.testing.assert_array_equal(sure[f"semantic{view}"], expected)  # type: ignore[literal-required]


def test_classes_of_teacher_and_data_must_be_the_same(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=(*KEYS, "semantic"))
    store(dataset, tmp_path, ("disparity", "confidence", "semantic_right"), CITYSCAPES7)
    with pytest.raises(ConfigError, match=r"cityscapes7 \(7 classes\), those of the data cityscapes19 \(19\)"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    assert "semantic_right" not in PseudoLabelled(dataset, Pseudo(str(tmp_path), labels="truth")).provides


def test_frames_that_are_not_labelled_yet_can_be_left_out(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    stored = store(dataset, tmp_path)
    folder = PseudoFolder(tmp_path, dataset)
    folder.record_path(dataset.ids[0]).unlink()
    there = PseudoLabelled(dataset, Pseudo(str(tmp_path), threshold="none", missing="skip"))
    assert there.ids == dataset.ids[1:]
    frame = there[0]
    assert frame["meta"]["id"] == dataset.ids[1]
    assert np.array_equal(frame["image"], dataset[1]["image"])
    assert np.array_equal(frame["confidence"], np.where(stored[1]["disparity"] > 0, stored[1]["confidence"], 0))
    folder.record_path(dataset.ids[1]).unlink()
    with pytest.raises(DataError, match="no pseudo labels of"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path), missing="skip"))


def test_what_is_missing_is_named_with_the_command_that_makes_it(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    with pytest.raises(DataError, match="Make one with `diorama pseudo-label`"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    store(dataset, tmp_path)
    folder = PseudoFolder(tmp_path, dataset)
    whole = folder.record(dataset.ids[1])
    assert whole is not None
    folder.record_path(dataset.ids[1]).unlink()
    command = f"diorama pseudo-label --data cityscapes --data.root {city} --splits train --out {tmp_path} --tolerance 2.0"
    with pytest.raises(DataError, match=f"no pseudo labels of {dataset.ids[1]}. Run `{command}`"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    folder.keep(dataset.ids[1], {**whole, "settings": "others"})
    with pytest.raises(DataError, match=f"made with other settings of {dataset.ids[1]}"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))[1]
    folder.record_path(dataset.ids[0]).write_text("{")
    with pytest.raises(DataError, match="Remove it, and run"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))


def test_the_command_has_the_settings_of_the_data(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    store(dataset, tmp_path)
    settings = json.loads((tmp_path / "pseudo.json").read_text())
    settings["data"] |= {"classes": 19, "rows": [0, 32]}
    (tmp_path / "pseudo.json").write_text(json.dumps(settings))
    with pytest.raises(DataError) as caught:
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    assert "--data.rows '[0, 32]' --splits train" in str(caught.value)
    assert "--data.classes" not in str(caught.value)


def test_the_command_has_the_settings_of_the_teacher(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    store(dataset, tmp_path)
    settings = json.loads((tmp_path / "pseudo.json").read_text())
    settings["teacher"] = {"source": "hf:owner/net", "unmapped": "ignore", "depth_unit": "inverse"}
    (tmp_path / "pseudo.json").write_text(json.dumps(settings))
    with pytest.raises(DataError) as caught:
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    assert "--teacher hf:owner/net --unmapped ignore --depth-unit inverse --labels cityscapes19" in str(caught.value)


def test_pictures_of_one_size_that_show_something_else_are_refused(city: Path, tmp_path: Path) -> None:
    labelling, settings = Labelling(save=("disparity", "agrees")), Pseudo(str(tmp_path / "out"), threshold="none")
    pseudo_label("cityscapes", tmp_path / "out", data={"root": city, "rows": (0, 48)}, labelling=labelling, workers=1, progress=False)
    assert PseudoLabelled(Cityscapes(city, keys=KEYS, rows=(0, 48)), settings)[0]["pseudo_depth"].shape == (48, 192)
    with pytest.raises(ConfigError, match=r"labelled with data.rows \[0, 48\], now it is \[16, 64\]. Set data.rows to"):
        PseudoLabelled(Cityscapes(city, keys=KEYS, rows=(16, 64)), settings)
    with pytest.raises(ConfigError, match=r"now it is null"):
        PseudoLabelled(Cityscapes(city, keys=KEYS), settings)
    world: dict[str, Any] = {"frames": 1, "size": (64, 192)}
    pseudo_label("world_street", tmp_path / "w", data=world, labelling=labelling, workers=1, progress=False)
    settings = replace(settings, root=str(tmp_path / "w"))
    assert PseudoLabelled(WorldStreet(**world, stereo=False), settings)[0]["pseudo_depth"].shape == (64, 192)
    with pytest.raises(ConfigError, match='labelled with data.style "mixed", now it is "mill"'):
        PseudoLabelled(WorldStreet(**world, style="mill"), settings)


def test_labels_of_other_data_sizes_and_formats_are_refused(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    store(dataset, tmp_path)
    folder = PseudoFolder(tmp_path, dataset)
    folder.write("confidence", dataset.ids[0], np.ones((8, 8), np.float32))
    with pytest.raises(ShapeError, match=rf"{dataset.ids[0]}\.png: 8x8, its image 192x64\. Make the pseudo labels"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))[0]
    settings = json.loads((tmp_path / "pseudo.json").read_text())
    (tmp_path / "pseudo.json").write_text(json.dumps({**settings, "data": {"name": "kitti_raw"}}))
    with pytest.raises(DataError, match="pseudo labels of kitti_raw, the data are cityscapes"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))
    (tmp_path / "pseudo.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(DataError, match="Update diorama"):
        PseudoLabelled(dataset, Pseudo(str(tmp_path)))


@pytest.mark.parametrize(
    "settings",
    [{"threshold": "firm"}, {"eps": 0.0}, {"tau": 1.5}, {"labels": "some"}, {"semantic_tau": -0.1}, {"root": ""}],
)
def test_impossible_settings_name_their_key(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"pseudo\.{next(iter(settings))} is"):
        Pseudo(**{"root": "x", **settings})


def test_a_cached_copy_is_stale_once_a_pseudo_label_changes(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    store(dataset, tmp_path / "pseudo")
    asked = Pseudo(str(tmp_path / "pseudo"))
    labelled = PseudoLabelled(dataset, asked)
    before = fingerprint(labelled, (32, 96))
    assert before == fingerprint(PseudoLabelled(dataset, asked), (32, 96))
    assert before != fingerprint(PseudoLabelled(dataset, replace(asked, eps=5.0)), (32, 96))
    cached = CachedDataset(labelled, (32, 96), tmp_path / "cache")
    assert cached[0]["confidence"].shape == (32, 96)
    assert set(np.unique(cached[0]["confidence"])) <= set(np.unique(labelled[0]["confidence"]))  # nearest, never mixed
    path = PseudoFolder(tmp_path / "pseudo", dataset).path("confidence", dataset.ids[0])
    io.write_label_png(path, io.read_labels(path)[::-1], bits=16)
    assert before != fingerprint(PseudoLabelled(dataset, asked), (32, 96))


def test_a_run_reads_them_and_its_evaluation_does_not(city: Path, tmp_path: Path) -> None:
    dataset = Cityscapes(city, keys=KEYS)
    store(dataset, tmp_path)
    shutil.copytree(city / "leftImg8bit" / "train", tmp_path / "city" / "leftImg8bit" / "test")
    for folder in ("leftImg8bit", "rightImg8bit", "camera"):
        shutil.copytree(city / folder, tmp_path / "city" / folder, dirs_exist_ok=True)
        shutil.copytree(city / folder / "train", tmp_path / "city" / folder / "test", dirs_exist_ok=True)
    words = ["--model", "majority", "--data", "cityscapes", "--data.root", str(tmp_path / "city"), "--data.keys", str(list(KEYS))]
    run = read_config([*words, "--pseudo.root", str(tmp_path), "--pseudo.threshold", "hard"])
    assert run.pseudo == Pseudo(str(tmp_path), threshold="hard")
    assert type(run).from_dict(run.to_dict()).pseudo == run.pseudo
    assert "pseudo_depth" in run.open_training().provides
    assert run.open_dataset("test").provides == run.open_dataset("train").provides == set(KEYS)
    assert read_config(words).pseudo is None
    assert "pseudo" not in read_config(words).to_dict()
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        read_config([*words, "--pseudo.root", "x", "--pseudo.treshold", "hard"])
    with pytest.raises(ConfigError, match=r"pseudo\.root is missing|root"):
        read_config([*words, "--pseudo.threshold", "hard"])
