"""Evaluating a model: exact for any number of processes, resizing, flip, alignment, what is refused, and the report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diorama.errors import ConfigError, DataError, ModelError, ProtocolError
from diorama.evaluation.protocols import by_name
from diorama.evaluation.table import FrameTable, merge
from diorama.running.batches import network_image
from diorama.running.evaluate import Evaluation, evaluate_model
from diorama.running.report import write_report
from diorama.running.torch_predictor import torch_gather, torch_predictor
from diorama.types import Inputs, Prediction

FOLDER = by_name("folder", cap=10.0)


def in_processes(world: int, run: Callable[[int, Callable[[Any], list[Any]]], Evaluation]) -> list[Evaluation]:
    """What each of `world` processes finds; threads and a barrier stand for processes and their collective."""
    barrier, board, found = threading.Barrier(world), [None] * world, {}

    def work(rank: int) -> None:
        def gather(item: Any) -> list[Any]:
            board[rank] = item
            barrier.wait()
            items = list(board)
            barrier.wait()
            return items

        found[rank] = run(rank, gather)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(world)]


@pytest.mark.parametrize("align", ["none", "median", "median_global"])
@pytest.mark.parametrize("aggregation", ["pooled", "per_image"])
def test_any_number_of_processes_gives_the_same_bits(toy: Any, predict: Any, align: str, aggregation: str) -> None:
    protocol = by_name("folder", cap=10.0, align=align, aggregation=aggregation)
    alone = evaluate_model(predict, toy(), protocol, batch_size=4, progress=False, draws=50)
    for world in (2, 3):
        shared = in_processes(
            world,
            lambda rank, gather, world=world: evaluate_model(  # type: ignore[misc]
                predict, toy(), protocol, batch_size=4, progress=False, draws=50, rank=rank, world=world, gather=gather
            ),
        )
        for one in shared:
            assert one.values == alone.values
            assert one.rows.ids == alone.rows.ids
            assert np.array_equal(one.rows["depth/sq"], alone.rows["depth/sq"])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_merging_shards_in_any_order_gives_one_table(values: list[float], order: Any) -> None:
    whole = FrameTable()
    for number, value in enumerate(values):
        whole.add(number, str(number), {"n": number, "value": value})
    rows = list(range(len(values)))
    order.shuffle(rows)
    parts = [FrameTable() for _ in range(3)]
    for place, row in enumerate(rows):
        parts[place % 3].add(row, str(row), {"n": row, "value": values[row]})
    found = merge(parts)
    assert found.frames.tolist() == list(range(len(values)))
    assert found["value"].sum() == whole["value"].sum()
    assert (found["n"].dtype, found["value"].dtype) == (np.int64, np.float64)


def test_a_frame_counted_twice_is_an_error() -> None:
    parts = [FrameTable(), FrameTable()]
    for part in parts:
        part.add(3, "x", {"n": 1})
    with pytest.raises(DataError, match="counted twice"):
        merge(parts)


def test_a_column_that_a_frame_lacks_reads_as_zero_and_the_table_survives_the_disk(tmp_path: Path) -> None:
    table = FrameTable()
    table.add(0, "a", {"n": 1})
    table.add(1, "b", {"n": 2, "matrix": np.ones((2, 3), np.int64)})
    table.save(tmp_path / "t.npz")
    again = FrameTable.load(tmp_path / "t.npz")
    for one in (table, again):
        assert one["matrix"].tolist() == [[[0] * 3] * 2, [[1] * 3] * 2]
        assert one.ids == ["a", "b"]
        assert "other" not in one
    with pytest.raises(KeyError):
        table["other"]
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="Evaluate the model again"):
        FrameTable.load(tmp_path / "bad.npz")


def test_values_of_the_toy_by_an_independent_count(toy: Any, predict: Any) -> None:
    data = toy(5)
    found = evaluate_model(predict, data, FOLDER, progress=False)
    wrong = labelled = 0
    errors = []
    for frame in data:
        kind = frame["image"][..., 0] // 30
        said = np.where((frame["image"][..., 1] / np.float32(255) > 0.8) & (kind < 2), 1 - kind, kind)
        known = frame["semantic"] != 255
        wrong, labelled = wrong + int((said != frame["semantic"])[known].sum()), labelled + int(known.sum())
        counted = frame["depth"] > 0
        errors.append((1.5 + kind - frame["depth"].astype(np.float64))[counted])
    assert found["pixel_accuracy"] == pytest.approx(1 - wrong / labelled)
    assert found["rmse"] == pytest.approx(float(np.sqrt(np.mean(np.concatenate(errors) ** 2))))
    assert found.values["rmse"].frames == 5
    assert (found.protocol.dataset, found.protocol.split, found.protocol.truth_size, found.protocol.frames, found.protocol.classes) == (
        "toy", "test", "48x64", 5, 5,
    )  # fmt: skip


def test_the_network_sees_its_size_and_the_truth_keeps_its_own(toy: Any, predict: Any) -> None:
    shapes = set()

    def small(inputs: Inputs) -> Prediction:
        shapes.add(inputs["image"].shape)
        return predict(inputs)

    found = evaluate_model(small, toy(5), FOLDER, size=(24, 32), batch_size=4, progress=False, draws=0)
    assert shapes == {(4, 3, 24, 32)}  # the last, short batch is filled up
    assert found.confusion is not None
    assert found.confusion.sum() == sum(int((frame["semantic"] != 255).sum()) for frame in toy(5))
    assert found.values["rmse"].interval is None
    assert found.breakdown is None


def test_images_are_area_averaged_when_shrinking() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[0, 0, 0], [40, 40, 40]], [[80, 80, 80], [120, 120, 120]]]
    assert network_image(image, (2, 2))[0, 0, 0] == pytest.approx(60 / 255)
    assert network_image(image, None).shape == (3, 4, 4)
    assert network_image(image, (8, 8)).dtype == np.float32


def test_flip_averaging_predicts_the_mirrored_image_and_says_so(toy: Any) -> None:
    def leaning(inputs: Inputs) -> Prediction:
        images = inputs["image"]
        columns = np.linspace(1, 3, images.shape[-1], dtype=np.float32)
        return Prediction(depth=np.broadcast_to(columns, (len(images), 1, *images.shape[-2:])))

    data = toy(2, without=frozenset({"semantic"}))
    constant = evaluate_model(lambda x: Prediction(depth=np.full((len(x["image"]), 1, 48, 64), 2.0)), data, FOLDER, progress=False)
    flipped = evaluate_model(leaning, data, FOLDER.vary(flip=True), progress=False)
    assert flipped["rmse"] == pytest.approx(constant["rmse"])
    assert flipped.protocol.flip
    assert flipped.protocol.name.endswith("+flip")
    with pytest.raises(ProtocolError, match="flip"):
        flipped.values["rmse"].better_than(constant.values["rmse"])


def test_median_alignment_undoes_a_scale(toy: Any, predict: Any) -> None:
    def scaled(inputs: Inputs) -> Prediction:
        return Prediction(depth=predict(inputs).depth * 0.01)

    for align in ("median", "median_global"):
        one, other = (evaluate_model(net, toy(4), by_name("folder", align=align), progress=False, draws=0) for net in (predict, scaled))
        assert other["rmse"] == pytest.approx(one["rmse"], rel=1e-5)


def test_a_single_task_on_either_side_is_enough(toy: Any, predict: Any) -> None:
    semantics = evaluate_model(lambda x: Prediction(predict(x).semantic_logits), toy(2), FOLDER, progress=False)
    depth = evaluate_model(predict, toy(2, without=frozenset({"semantic"})), FOLDER, progress=False)
    assert "rmse" not in semantics.values
    assert "miou" not in depth.values
    with pytest.raises(DataError, match="share neither"):
        evaluate_model(lambda x: Prediction(predict(x).semantic_logits), toy(2, without=frozenset({"semantic"})), FOLDER, progress=False)


def test_uncertainty_is_scored_when_there_is_any(toy: Any, predict: Any) -> None:
    data = toy(3)

    def sure(inputs: Inputs) -> Prediction:
        said = predict(inputs)
        return said._replace(uncertainty=np.ones_like(said.depth))

    found = evaluate_model(sure, data, FOLDER, progress=False)
    assert 0.1 < found["ause"] < found["rmse"]
    assert found.values["ause"].unit == "m"


def test_another_truth_is_another_protocol(toy: Any, predict: Any) -> None:
    usual, raw = toy(2), toy(2)
    raw.truth = "raw depth"
    one, other = (evaluate_model(predict, data, FOLDER, progress=False, draws=0) for data in (usual, raw))
    with pytest.raises(ProtocolError, match="truth: 'as stored' != 'raw depth'"):
        one.values["rmse"].better_than(other.values["rmse"])


def test_what_does_not_fit_is_refused(toy: Any, predict: Any) -> None:
    with pytest.raises(ProtocolError, match="40 classes, toy was loaded with 5"):
        evaluate_model(predict, toy(1), "nyuv2_pooled", progress=False)
    with pytest.raises(ModelError, match="3 classes, the truth 5"):
        evaluate_model(lambda x: Prediction(np.zeros((len(x), 3, 48, 64))), toy(1), FOLDER, progress=False)
    with pytest.raises(DataError, match="no frames"):
        evaluate_model(predict, toy(0), FOLDER, progress=False)
    with pytest.raises(ConfigError, match="gather"):
        evaluate_model(predict, toy(2), FOLDER, progress=False, world=2)


class Net(nn.Module):
    """Frozen batch norm (always in evaluation mode) and a dropout that would change the answer in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3).eval(), nn.Dropout(0.5)

    def forward(self, image: torch.Tensor) -> Prediction:
        depth = self.drop(self.norm(image)).mean(1, keepdim=True) + 1
        return Prediction(torch.cat([depth, -depth, depth * 0, depth * 0, depth * 0], 1), depth)


def test_a_torch_module_is_evaluated_in_evaluation_mode_and_left_as_it_was(toy: Any) -> None:
    net = Net()
    net.train()
    net.norm.eval()
    predict = torch_predictor(net)
    one, other = (evaluate_model(predict, toy(3), FOLDER, progress=False, draws=0) for _ in range(2))
    assert one.values == other.values
    assert (net.training, net.drop.training, net.norm.training) == (True, True, False)
    assert torch_gather("x") == ["x"]
    half = torch_predictor(net, "cpu", "bf16-mixed")({"image": np.ones((1, 3, 4, 4), np.float32)})
    assert half.depth.dtype == np.float32


def test_a_report_is_complete_and_holds_everything_it_shows(toy: Any, predict: Any, tmp_path: Path) -> None:
    found = evaluate_model(predict, toy(9), FOLDER, batch_size=4, progress=False, examples=1)
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text(
        "step,loss,rmse\n" + "".join(f"{step},{1 / (step + 1)},{'' if step % 5 else step}\n" for step in range(90))
    )
    page = write_report(found, tmp_path / "out", model={"name": "<toy>", "seed": 0}, run=run)
    text = page.read_text()
    assert FOLDER.name in text
    assert "&lt;toy&gt;" in text
    assert "http://" not in text
    assert "https://" not in text
    assert text.count("data:image/") > 20
    for kind in ("best", "median", "worst"):
        assert f"{kind} semantics" in text
        assert f"{kind} depth" in text
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert stored["metrics"]["rmse"]["value"] == found["rmse"]
    assert stored["metrics"]["miou"]["better"] == "higher"
    assert stored["protocol"]["truth_size"] == "48x64"
    assert stored["classes_counted"] == 5
    with (tmp_path / "out" / "confusion.csv").open() as file:
        counts = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    assert np.array_equal(np.array(counts), found.confusion)
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == found.rows.ids
    worst = max(rows, key=lambda row: float(row["rmse"]))["id"]
    assert worst == next(example.name for example in found.examples if "worst depth" in example.why)
    assert len((tmp_path / "out" / "breakdown.csv").read_text().splitlines()) == 1 + len(found.breakdown.rows())  # type: ignore[union-attr]


def test_a_report_with_baselines_shows_delta_m(toy: Any, predict: Any, tmp_path: Path) -> None:
    facts = {"backbone": "b", "data": "d", "budget": 1, "seed": 0}
    data = toy(6)
    for part in ("semantic_logits", "depth"):
        single = evaluate_model(lambda x, part=part: Prediction(**{part: getattr(predict(x), part)}), data, FOLDER, progress=False)  # type: ignore[misc]
        write_report(single, tmp_path / part, model=facts)
    joint = evaluate_model(predict, data, FOLDER, progress=False)
    baselines = [tmp_path / "semantic_logits", tmp_path / "depth"]
    text = write_report(joint, tmp_path / "joint", model=facts, baselines=baselines).read_text()
    assert "single-task models: +0.0 %" in text
    with pytest.raises(ProtocolError, match="backbone"):
        write_report(joint, tmp_path / "other", model={**facts, "backbone": "c"}, baselines=baselines)


def test_a_model_without_torch_is_evaluated_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import diorama.running.evaluate, diorama.running.report; print(cv2.__name__)"
    done = subprocess.run([sys.executable, "-c", "import cv2; " + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == cv2.__name__


def test_real_rooms_score_their_own_truth_as_perfect(real_data: Path) -> None:
    from diorama.data.nyuv2 import NYUv2

    data = NYUv2(real_data / "nyuv2", "test")
    data.ids = data.ids[:3]
    frames = iter(list(data))

    def oracle(_: Inputs) -> Prediction:
        frame = next(frames)
        logits = (frame["semantic"][None] == np.arange(40)[:, None, None]).astype(np.float32)
        return Prediction(logits[None], frame["depth"][None, None])

    found = evaluate_model(oracle, data, "nyuv2_eigen", batch_size=1, progress=False, draws=0)
    assert (found["miou"], found["rmse"], found["delta1"]) == (1.0, 0.0, 1.0)
    assert found.protocol.truth_size == "240x320"


def test_one_logit_beyond_the_classes_is_ignore_which_is_a_miss(toy: Any, predict: Any) -> None:
    def more(count: int) -> Callable[[Inputs], Prediction]:
        def answer(inputs: Inputs) -> Prediction:
            """What `predict` says, but class 2 goes to the last of `count` further logits."""
            logits, depth = predict(inputs)[:2]
            beyond = np.full((len(logits), count, *logits.shape[2:]), -99, np.float32)
            beyond[:, -1] = np.where(logits.argmax(1) == 2, 99, -99)
            return Prediction(np.concatenate([logits, beyond], 1), depth)

        return answer

    dataset = toy()
    plain, ignoring = (evaluate_model(each, dataset, FOLDER, progress=False, draws=9, examples=1) for each in (predict, more(1)))
    known = np.concatenate([frame["semantic"][frame["semantic"] != 255] for frame in dataset])
    share = float((known == 2).mean())  # all of which `predict` finds
    assert ignoring["pixel_accuracy"] == pytest.approx(plain["pixel_accuracy"] - share)
    assert ignoring["miou"] == pytest.approx(plain["miou"] - 1 / 5)
    assert ignoring["rmse"] == plain["rmse"]
    with pytest.raises(ModelError, match=r"the model has 7 classes, the truth 5\. Evaluate it on its own label set"):
        evaluate_model(more(2), dataset, FOLDER, progress=False)
