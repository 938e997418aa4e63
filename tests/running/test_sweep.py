"""Sweeps over the input: rows by an independent count, the same points whenever asked, CSV there and back, charts that parse."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from diorama.cli import main
from diorama.data.base import SceneDataset
from diorama.data.labels import LabelSet
from diorama.data.sparsify import Sparsify, frame_seed, sparsify
from diorama.errors import ConfigError, DataError
from diorama.evaluation.breakdown import breakdown, breakdown_columns, ranges_for
from diorama.evaluation.calibration import calibration, calibration_columns
from diorama.evaluation.density import density_breakdown, density_columns
from diorama.evaluation.protocols import by_name
from diorama.evaluation.table import FrameTable
from diorama.running.sweep import Setting, SweepRow, read_sweep, standard_settings, sweep, write_sweep
from diorama.running.sweep_figures import calibration_chart, comparison_chart, density_chart, svg, sweep_chart
from diorama.types import Frame, Inputs, Prediction

ROOMS = by_name("folder", cap=10.0, aggregation="per_image")
COUNTS = [Setting("points", str(count), Sparsify(points=count), count) for count in (1, 20, 200)]
KINDS = [Setting("pattern", name, Sparsify(pattern=name, points=64)) for name in ("random", "grid")]  # type: ignore[arg-type]


class Slopes(SceneDataset):
    """Slanted planes, 2 to 8 m, different in every frame."""

    name, title, citation, terms = "slopes", "Slopes", "none", "none"

    def __init__(self, frames: int = 3) -> None:
        self.root, self.split, self.labels = None, "test", LabelSet("one", ("plane",), ((9, 9, 9),))
        self.ids = [f"slope{number}" for number in range(frames)]
        self.provides = frozenset({"depth"})

    def frame(self, index: int) -> Frame:
        row, column = np.mgrid[0:30, 0:40] / 40
        tilt = np.random.default_rng(index).uniform(1, 3, 2)
        return Frame(depth=(2 + tilt[0] * row + tilt[1] * column).astype(np.float32), meta={"id": self.ids[index]})


def mean_of_points(inputs: Inputs) -> Prediction:
    points = inputs["sparse_depth"]
    mean = points.sum((1, 2, 3)) / (points > 0).sum((1, 2, 3))
    return Prediction(depth=np.broadcast_to(mean[:, None, None, None], points.shape).astype(np.float32))


def rows_of(seed: int = 0, settings: list[Setting] = COUNTS + KINDS, model: str = "mean") -> list[SweepRow]:
    return sweep(mean_of_points, Slopes(), ROOMS, settings, model=model, seed=seed, progress=False, draws=50)


def test_each_row_is_what_an_independent_count_gives() -> None:
    rows, data = rows_of(), Slopes()
    for row, setting in zip(rows, COUNTS + KINDS, strict=True):
        each, counts = [], []
        for number, name in enumerate(data.ids):
            truth = data.frame(number)["depth"].astype(np.float64)
            points = sparsify(data.frame(number)["depth"], setting.rules, frame_seed(0, name))
            counts.append(np.count_nonzero(points))
            each.append(np.sqrt(np.mean((points.sum() / np.count_nonzero(points) - truth) ** 2)))
        assert row.values["rmse"] == pytest.approx(np.mean(each), rel=1e-5)
        assert row.points == np.mean(counts)
        assert (row.axis, row.setting, row.value, row.frames, row.unit) == (setting.axis, setting.label, setting.value, 3, "m")
        assert row.interval is not None
        assert row.interval[0] <= row.values["rmse"] <= row.interval[1]
    assert [row.points for row in rows[:3]] == [1, 20, 200]


def test_points_depend_on_seed_frame_and_setting_alone() -> None:
    forward, backward = rows_of(), rows_of(settings=(COUNTS + KINDS)[::-1])
    assert forward == backward[::-1]
    assert rows_of(seed=1)[0].values != forward[0].values


def test_every_number_says_which_points_it_rests_on() -> None:
    rows = rows_of()
    assert [row.input for row in rows[:2]] == ["1 random points, seed 0", "20 random points, seed 0"]
    assert len({row.protocol for row in rows}) == len(rows)
    assert rows[0].protocol == "folder+cap=10.0+aggregation=per_image+sparse=1 random points, seed 0"
    cropped = sweep(mean_of_points, Slopes(1), ROOMS, COUNTS[:1], crop=(10, 12), progress=False, draws=0)[0]
    assert cropped.input == "1 random points inside the middle 10x12, seed 0"
    assert cropped.interval is None


def test_a_sweep_survives_the_disk_and_needs_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of() + rows_of(seed=1, model='other, "mean"')
    table, chart = write_sweep(rows, tmp_path / "out")
    again = read_sweep(table)
    assert [(row.model, row.axis, row.setting, row.value, row.points, row.input) for row in again] == [
        (row.model, row.axis, row.setting, row.value, row.points, row.input) for row in rows
    ]
    for row, stored in zip(rows, again, strict=True):
        assert stored.values == pytest.approx(row.values, rel=1e-8)
        assert stored.interval == pytest.approx(row.interval, rel=1e-8)
    assert ET.parse(chart).getroot().tag.endswith("svg")
    write_sweep(again, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert write_sweep(rows, tmp_path / "bare") == [tmp_path / "bare" / "sweep.csv"]
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    for path in (tmp_path / "bad.csv", tmp_path / "nowhere.csv"):
        with pytest.raises(DataError, match=r"Pass a sweep\.csv"):
            read_sweep(path)


def test_the_standard_settings_are_those_that_the_data_allow() -> None:
    data = Slopes()
    bare = standard_settings(data)
    assert {setting.axis for setting in bare} == {"points", "500 points", "depth noise [m]", "outliers [%]"}
    data.provides = frozenset({"depth", "image", "intrinsics"})
    dense = standard_settings(data, points=100)
    assert {"scan lines", "100 points", "scanner shifted [m]", "scanner turned [degrees]"} <= {setting.axis for setting in dense}
    assert "corners" in {setting.label for setting in dense}
    data.provides = frozenset({"depth", "sparse_depth", "intrinsics"})
    scan = standard_settings(data)
    assert [setting.label for setting in scan if setting.axis == "scan lines"] == ["64", "32", "16", "8", "4"]
    assert all(setting.rules.pattern in ("all", "lines") for setting in scan)
    assert {setting.rules.scanner for setting in scan} == {"camera"}
    data.name = "kitti_lidar"  # type: ignore[misc]
    assert {setting.rules.scanner for setting in standard_settings(data) if setting.rules.pattern == "lines"} == {"kitti"}
    for settings in (bare, dense, scan):
        assert len({(setting.axis, setting.label) for setting in settings}) == len(settings)


def test_what_cannot_be_swept_is_refused() -> None:
    data = Slopes()
    with pytest.raises(ConfigError, match="without settings"):
        sweep(mean_of_points, data, ROOMS, [])
    with pytest.raises(ConfigError, match="intrinsics"):
        sweep(mean_of_points, data, ROOMS, [Setting("x", "x", Sparsify(pattern="lines"))], progress=False)
    data.provides = frozenset({"image"})
    with pytest.raises(DataError, match="no depth to score against"):
        sweep(mean_of_points, data, ROOMS, COUNTS)


def parses(chart: str) -> bool:
    return ET.fromstring(svg(chart)).tag.endswith("svg")


def test_charts_of_one_and_of_many_models_and_what_they_refuse() -> None:
    rows, other = rows_of(), rows_of(seed=1, model="other")
    assert parses(sweep_chart(rows))
    assert len(sweep_chart(rows + other)) > len(sweep_chart(rows))
    assert sweep_chart(rows) == sweep_chart(rows)  # no dates, no random names
    assert parses(sweep_chart(rows, "delta1"))
    with pytest.raises(ConfigError, match="sweeps of one protocol"):
        sweep_chart(rows, "miou")

    table = FrameTable()
    truth = np.full((40, 50), 4.0, np.float32)
    semantic = (np.arange(50) // 25)[None].repeat(40, 0).astype(np.uint8)
    error = np.random.default_rng(0).normal(size=truth.shape)
    points = np.zeros_like(truth)
    points[::9, ::9] = 4.0
    predicted = cv2.GaussianBlur(truth + error, (3, 3), 0)
    table.add(0, "a", breakdown_columns(truth, predicted, truth > 0, semantic, None, 2, ranges_for(80.0)))
    table.add(1, "b", density_columns(truth, predicted, truth > 0, points))
    table.add(2, "c", calibration_columns(np.abs(error).ravel(), np.full(error.size, 0.8)))
    cells, density, curve = breakdown(table, ("car", "pole"), ranges_for(80.0)), density_breakdown(table), calibration(table)
    assert cells is not None
    assert density is not None
    assert curve is not None
    assert parses(comparison_chart({"one": cells, "two": cells}, ("pole", "car")))
    assert parses(comparison_chart({"one": cells}))
    assert parses(density_chart({"one": density}))
    assert parses(calibration_chart({"one": curve}))
    with pytest.raises(ConfigError, match="no class 'tree'"):
        comparison_chart({"one": cells}, ("tree",))
    with pytest.raises(ConfigError, match="differ in classes or ranges"):
        comparison_chart({})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["linear", "--axes", "[scan lines,lines]"], "'lines' is no axis of these data. Choose among "),
        (["linear", "--batch_size", "0", "--axes", "[scan lines]"], "batch size 0. Choose 1 or more."),
        (["linear", "ci_net-nyuv2", "--axes", "[scan lines]"], "ci_net-nyuv2 takes no sparse depth"),
        (["linear", "--out", "taken"], "a file, not a folder. Choose another --out."),
    ],
)
def test_a_sweep_that_cannot_end_well_does_not_begin(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    rooms = ["--data", "world_indoor", "--data.frames", "1", "--data.size", "[48,64]", "--data.stereo", "false"]
    assert main(["sweep", *words, *rooms]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not Path("runs").exists()
