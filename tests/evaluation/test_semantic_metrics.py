"""Confusion, mIoU and accuracies: a case worked out by hand, torchmetrics as oracle, argmax against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix, multiclass_jaccard_index

from diorama.errors import DataError, ModelError, ShapeError
from diorama.evaluation import semantics
from diorama.evaluation.metrics import confusion_matrix, score
from diorama.evaluation.protocols import by_name
from diorama.evaluation.semantics import class_iou, class_sums, classes_of, confusion, semantic_metrics
from diorama.evaluation.table import FrameTable


def test_every_metric_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1, 255, 2]], np.uint8)
    predicted = np.array([[0, 1, 1, 255, 0, 1]], np.uint8)
    matrix = confusion(truth, predicted, 4)
    assert matrix.tolist() == [[1, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    found = {name: float(value) for name, value in semantic_metrics(*class_sums(matrix)).items()}
    # IoU: 1/2, 1/(2 + 3 - 1), 0/1, and class 3, which neither has, is not counted; the predicted "ignore" is a miss of class 1
    assert found == pytest.approx({"miou": 0.25, "pixel_accuracy": 2 / 5, "class_accuracy": 1 / 3, "class_accuracy_all": 1 / 4})
    assert np.isnan(class_iou(*class_sums(matrix))).tolist() == [False, False, False, True]


def test_one_matrix_over_the_split_is_not_a_mean_over_images() -> None:
    rows = FrameTable()
    rows.add(0, "a", {"confusion": confusion(np.zeros((1, 9), np.uint8), np.zeros((1, 9), np.uint8), 2)})
    rows.add(1, "b", {"confusion": confusion(np.array([[0, 1]], np.uint8), np.array([[1, 1]], np.uint8), 2)})
    # over the split: class 0 has 9 of 10, class 1 has 1 of 2; per image it would be (1 + (0 + 1/2) / 2) / 2
    assert score(rows, by_name("folder"), draws=0)["miou"].value == pytest.approx((9 / 10 + 1 / 2) / 2)
    assert confusion_matrix(rows).tolist() == [[9, 1, 0], [0, 1, 0]]  # type: ignore[union-attr]
    assert confusion_matrix(FrameTable()) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_torchmetrics_agrees(seed: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, (13, 17)).astype(np.uint8)
    predicted = np.where(generator.random(truth.shape) < 0.5, truth, generator.integers(0, classes, truth.shape)).astype(np.uint8)
    truth[generator.random(truth.shape) < 0.2] = 255
    matrix = confusion(truth, predicted, classes)
    p, t = torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()
    assert np.array_equal(matrix[:, :classes], multiclass_confusion_matrix(p, t, classes, ignore_index=255).numpy())
    found = semantic_metrics(*class_sums(matrix))
    each = multiclass_jaccard_index(p, t, classes, average=None, ignore_index=255).numpy()
    present = matrix[:, :classes].sum(0) + matrix.sum(1) > 0
    assert float(found["miou"]) == pytest.approx(float(each[present].mean()), abs=1e-6)
    assert float(found["pixel_accuracy"]) == pytest.approx(float(multiclass_accuracy(p, t, classes, average="micro", ignore_index=255)))


def test_counts_stay_exact_beyond_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    truth, predicted = generator.integers(0, 5, (2, 40, 50)).astype(np.uint8)
    expected = np.bincount(truth.reshape(-1) * 5 + predicted.reshape(-1), minlength=25).reshape(5, 5)
    monkeypatch.setattr(semantics, "_EXACT", 77)
    assert np.array_equal(confusion(truth, predicted, 5)[:, :5], expected)


def test_a_train_id_beyond_the_label_set_is_named() -> None:
    with pytest.raises(DataError, match="train id 7, the label set ends at 4"):
        confusion(np.array([[7]], np.uint8), np.array([[0]], np.uint8), 5)
    with pytest.raises(ShapeError, match="uint8"):
        confusion(np.array([[1]]), np.array([[0]], np.uint8), 5)  # type: ignore[arg-type]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_classes_of_is_argmax_with_the_first_of_equals(seed: int, classes: int) -> None:
    logits = np.random.default_rng(seed).integers(-3, 3, (classes, 9, 11)).astype(np.float32)
    assert np.array_equal(classes_of(logits, (9, 11)), logits.argmax(axis=0))


def test_classes_of_crosses_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(5).normal(size=(7, 31, 41)).astype(np.float32)
    monkeypatch.setattr(semantics, "_BLOCK", 100)
    assert np.array_equal(classes_of(logits, (31, 41)), logits.argmax(axis=0))


def test_logits_are_resized_as_torch_does() -> None:
    logits = torch.randn(6, 12, 16, generator=torch.Generator().manual_seed(0))
    bigger = torch.nn.functional.interpolate(logits[None], (50, 70), mode="bilinear", align_corners=False)[0]
    agree = classes_of(logits, (50, 70)) == bigger.argmax(0).numpy()
    assert agree.mean() > 0.999  # float32 ties at a few pixels


def test_logits_that_are_no_numbers_are_refused() -> None:
    logits = np.zeros((3, 4, 4), np.float32)
    logits[1, 2, 2] = np.nan
    for size in ((4, 4), (8, 8)):
        with pytest.raises(ModelError, match="not numbers"):
            classes_of(logits, size)
    with pytest.raises(ShapeError, match="one image at a time"):
        classes_of(np.zeros((1, 3, 4, 4)), (4, 4))
