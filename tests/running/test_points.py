"""Networks of sparse depth from training to numbers: which points they learn from and which they are judged with."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diorama import catalog
from diorama.cli import main
from diorama.config import RunConfig, read_config
from diorama.data.kitti_fixtures import write_kitti
from diorama.data.loader import seeded, to_sample
from diorama.data.sparse_dataset import SparseDataset
from diorama.data.sparsify import Sparsify
from diorama.data.transforms import train_transform
from diorama.data.view import View
from diorama.data.world.dataset import WorldIndoor
from diorama.errors import ConfigError, ProtocolError, UserError
from diorama.evaluation.points import points_of
from diorama.evaluation.protocols import by_name
from diorama.running.evaluate import evaluate_model
from diorama.running.points import with_points
from diorama.running.train import train
from diorama.types import Frame, Inputs, Prediction

ROOMS: dict[str, Any] = {"frames": 3, "size": [48, 64], "stereo": False}
TINY = {
    "name": "image_reconstruction", "image": False, "sharing": False, "width": 0.125, "residual": True, "min_depth": 0.1, "epochs": 1,
}  # fmt: skip


def rooms(split: str = "test") -> WorldIndoor:
    return catalog.dataset("world_indoor")(split=split, **ROOMS)


def test_points_are_drawn_of_the_moved_depth_and_from_the_sample_seed() -> None:
    frame = rooms().frame(0)
    transform = train_transform(View(size=(48, 64), crop=(40, 48), zoom=(1.1, 1.4), flip=0.5), Sparsify(points=30))
    drawn = []
    for seed in (5, 5, 6):
        with seeded(seed):
            drawn.append(transform(to_sample(frame, ("image", "depth"))))
    for sample in drawn:
        points, depth = sample["sparse_depth"].as_subclass(torch.Tensor), sample["depth"].as_subclass(torch.Tensor)
        assert points.shape == depth.shape == (1, 40, 48)
        assert int((points > 0).sum()) == 30
        assert torch.equal(points[points > 0], depth[points > 0])
    assert torch.equal(drawn[0]["sparse_depth"], drawn[1]["sparse_depth"])
    assert not torch.equal(drawn[0]["sparse_depth"] > 0, drawn[2]["sparse_depth"] > 0)


def test_a_section_for_points_is_there_only_where_it_is_named() -> None:
    words = ["--model", "image_reconstruction", "--data", "nyuv2", "--data.root", "rooms"]
    assert read_config(words).sparse is None
    assert "sparse" not in read_config(words).to_dict()
    mixed = read_config([*words, "--sparse.points", "[50,500]"])
    assert mixed.sparse == Sparsify(points=(50, 500))
    assert RunConfig.from_dict(mixed.to_dict()) == mixed
    with pytest.raises(ConfigError, match="unknown key 'point' in sparse: did you mean 'points'"):
        read_config([*words, "--sparse.point", "5"])
    with pytest.raises(ConfigError, match=r"sparse\.points is 0"):
        read_config([*words, "--sparse.points", "0"])


class Rooms(WorldIndoor):
    """Rooms under the name of the NYU set, at a multiple of its size."""

    name = "nyuv2"


@pytest.mark.parametrize("size", [(240, 320), (480, 640)])
def test_the_protocol_draws_its_points_in_the_middle_of_the_halved_frame(size: tuple[int, int], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DIORAMA_CACHE", str(tmp_path))
    data = Rooms(split="test", frames=1, size=size, stereo=False)
    protocol = by_name("nyuv2_completion_200")
    frame = with_points(data, protocol, ("sparse_depth",)).frame(0)
    assert frame["depth"].shape == frame["sparse_depth"].shape == (228, 304)
    assert int((frame["sparse_depth"] > 0).sum()) == 200
    whole = data.frame(0)["depth"]
    step = size[0] // 240
    middle = whole[step // 2 :: step, step // 2 :: step][6:234, 8:312]
    np.testing.assert_array_equal(frame["depth"], middle)
    assert with_points(data, protocol, ("image",)) is data


def test_data_without_points_ask_for_them() -> None:
    dense = rooms()
    dense.provides -= {"sparse_depth"}
    with pytest.raises(ConfigError, match=r"--sparse\.points 500"):
        with_points(dense, by_name("world_indoor"), ("sparse_depth",))
    drawn = with_points(rooms(), by_name("world_indoor"), ("sparse_depth",), Sparsify(points=20))
    assert isinstance(drawn, SparseDataset)
    assert "20 random points" in points_of(drawn)


@pytest.mark.parametrize("protocol", ["nyuv2_completion_500", "world_indoor"])
def test_data_without_depth_are_not_asked_for_points(protocol: str) -> None:
    scans = rooms()
    scans.provides = frozenset({"image"} | ({"sparse_depth"} if protocol == "nyuv2_completion_500" else set()))
    with pytest.raises(ConfigError, match="no depth to draw points of. Choose data with depth"):
        with_points(scans, by_name(protocol), ("sparse_depth",))


def test_numbers_of_other_points_do_not_compare() -> None:
    def constant(inputs: Inputs) -> Prediction:
        return Prediction(depth=np.full_like(inputs["sparse_depth"], 3))

    found = [
        evaluate_model(
            constant, SparseDataset(rooms(), Sparsify(points=count)), "world_indoor", inputs=("sparse_depth",), draws=0, progress=False
        )
        for count in (10, 20)
    ]
    assert found[0].values["rmse"].value == found[1].values["rmse"].value
    with pytest.raises(ProtocolError, match="10 random points"):
        found[0].values["rmse"].better_than(found[1].values["rmse"])
    with pytest.raises(ProtocolError, match="has the input"):
        evaluate_model(constant, Rooms(split="test", **ROOMS), "nyuv2_completion_500", draws=0, progress=False)


def test_a_completion_is_trained_judged_and_used(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RunConfig.from_dict({**settings(trainer={"steps": 2, "batch_size": 2}), "model": TINY, "sparse": {"points": [20, 80]}})
    run = train(config)
    stored = json.loads((run / "metrics.json").read_text())
    assert "20 to 80 random points" in stored["protocol"]["sparse"]
    assert "Known depth" in (run / "report.html").read_text()
    assert main(["evaluate", str(run), "--sparse.points", "40", "--out", str(tmp_path / "forty")]) == 0
    assert "40 random points" in json.loads((tmp_path / "forty" / "metrics.json").read_text())["protocol"]["sparse"]
    points = with_points(config.open_dataset("test"), by_name("world_indoor"), ("sparse_depth",), Sparsify(points=40)).frame(0)
    np.save(tmp_path / "points.npy", points["sparse_depth"])
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "points.npy"), "--model", str(run), "--out", str(tmp_path / "dense")]) == 0
    assert (tmp_path / "dense" / "points.depth.png").is_file()


def test_dense_truth_is_judged_against_where_there_is_some() -> None:
    rules = Sparsify("all", drop=0.5, withhold=True)
    frame = with_points(rooms(), by_name("world_indoor"), ("sparse_depth",), rules).frame(0)
    assert np.array_equal(frame["depth"], rooms().frame(0)["depth"])
    scans = rooms()
    scans.provides -= {"depth"}
    alone = with_points(scans, by_name("world_indoor"), ("sparse_depth",), rules)
    frame = alone.frame(0)
    assert np.array_equal(frame["sparse_depth"] + frame["depth"], rooms().frame(0)["sparse_depth"])

    def constant(inputs: Inputs) -> Prediction:
        return Prediction(depth=np.full_like(inputs["sparse_depth"], 3))

    found = evaluate_model(constant, alone, "world_indoor", inputs=("sparse_depth",), draws=0, progress=False)
    assert found.protocol.truth == "what the rules take out of the scan"


def write_scans(root: Path, frames: int = 4) -> Path:
    """Frames in the layout of `kitti_lidar` without dense depth: a slope, known on every fifth row and sixth column."""
    row, column = np.mgrid[:352, :1216].astype(np.float32)
    made = []
    for number in range(frames):
        depth = 60 - 0.14 * row + 0.002 * column + number
        known = (row % 5 == 2) & (column % 6 == number) & (row > 60)
        image = np.full((352, 1216, 3), 40 + number, np.uint8)
        camera = np.array([[720.0, 0, 608], [0, 720, 172], [0, 0, 1]])
        made.append(Frame(image=image, depth=depth, sparse_depth=np.where(known, depth, np.float32(0)), intrinsics=camera, meta={}))
    write_kitti(made, root, "test")
    return root / "depth_selection" / "test_depth_completion_anonymous"


def test_a_completion_is_learned_from_scans_alone_and_judged_on_what_was_withheld(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_scans(tmp_path / "scans")
    assert not (scans / "groundtruth_depth").exists()
    sections = settings(trainer={"steps": 2, "batch_size": 2})
    sections |= {
        "model": TINY,
        "data": {"name": "kitti_lidar", "root": str(scans)},
        "view": {"size": [352, 1216], "crop": [64, 96], "flip": 0.5, "cache": False},
        "evaluation": {"protocol": "kitti_withheld_random_unoccluded"},
    }
    with pytest.raises(UserError, match="'depth'"):
        train(RunConfig.from_dict(sections))
    sections["sparse"] = {"pattern": "lines", "lines": [48, 32], "scanner": "kitti", "unoccluded": True, "withhold": True}
    run = train(RunConfig.from_dict(sections))
    losses = [float(line["depth"]) for line in csv.DictReader((run / "metrics.csv").read_text().splitlines())]
    assert len(losses) == 2
    assert all(np.isfinite(loss) and loss > 0 for loss in losses)
    stored = json.loads((run / "metrics.json").read_text())
    assert stored["protocol"]["name"] == "kitti_withheld_random_unoccluded"
    assert (
        stored["protocol"]["truth"] == "withheld from the input: 20 % of the returns at random, seed 0; counted: those that the camera sees"
    )
    assert main(["evaluate", str(run), "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again["protocol"] == stored["protocol"]
    assert again["metrics"]["rmse"]["value"] == pytest.approx(stored["metrics"]["rmse"]["value"], rel=1e-4)
    capsys.readouterr()
    assert main(["predict", str(scans / "velodyne_raw"), "--model", str(run), "--out", str(tmp_path / "dense"), "--save", "depth"]) == 0
    assert len(list((tmp_path / "dense").glob("*.depth.png"))) == 4


def test_dense_depth_alone_is_answered_before_training(settings: Callable[..., dict[str, Any]], monkeypatch: Any) -> None:
    dense = rooms("train")
    dense.provides -= {"sparse_depth"}
    monkeypatch.setattr(RunConfig, "open_training", lambda *_: dense)
    with pytest.raises(ConfigError, match=r"Draw points of it: --sparse\.points 500"):
        train(RunConfig.from_dict({**settings(), "model": TINY}))


def test_scans_are_never_resized_and_a_model_of_photos_is_not_judged_on_them(
    settings: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    config = RunConfig.from_dict({**settings(trainer={"steps": 1, "batch_size": 2}), "model": TINY, "sparse": {"points": 30}})
    run = train(config)
    assert main(["evaluate", str(run), "--size", "[32,48]", "--overwrite"]) == 2
    assert "resizing would lose points. Leave out --size." in capsys.readouterr().err
    words = ["evaluate", "ci_net-nyuv2", "--data", "world_indoor", "--data.frames", "1", "--protocol", "kitti_withheld_random"]
    assert main(words) == 2
    assert "takes none. Choose a completion." in capsys.readouterr().err
