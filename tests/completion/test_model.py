from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diorama.completion.interpolate import linear
from diorama.completion.model import COMPLETIONS, ClassicalModel, linear_morphological, list_completions
from diorama.completion.morphological import morphological
from diorama.data import io
from diorama.errors import DataError, ModelError, ShapeError
from diorama.export.config import FORMAT, input_keys, label_set, parse


def frames(count: int = 2) -> np.ndarray:
    draw = np.random.default_rng(0)
    shape = (count, 1, 24, 32)
    return np.where(draw.random(shape) < 0.1, draw.uniform(1, 9, shape), 0).astype(np.float32)


@pytest.mark.parametrize("name", COMPLETIONS)
def test_a_completion_is_a_model(name: str) -> None:
    model = ClassicalModel(name)
    batch = frames()
    found = model({"sparse_depth": batch, "image": np.zeros((2, 3, 24, 32), np.float32)})
    assert found.depth.shape == (2, 1, 24, 32)
    assert found.depth.dtype == np.float32
    assert found.depth.min() > 0
    assert found.semantic_logits is None
    for index in range(2):
        assert np.array_equal(found.depth[index, 0], COMPLETIONS[name](batch[index, 0]))


@pytest.mark.parametrize("name", COMPLETIONS)
def test_its_config_reads_as_that_of_a_model(name: str) -> None:
    config = list_completions()[name]
    assert parse(json.dumps(config), name) == ClassicalModel(name).config == config
    assert (config["format"], config["method"], input_keys(config)) == (FORMAT, name, ("sparse_depth",))
    assert label_set(config) is None


def test_the_mean_lies_between() -> None:
    sparse = frames()[0, 0]
    assert np.allclose(linear_morphological(sparse), (linear(sparse) + morphological(sparse)) / 2)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ModelError, match=r"unknown completion 'linea': did you mean 'linear'\?"):
        ClassicalModel("linea")
    model = ClassicalModel("nearest")
    with pytest.raises(ShapeError, match=r"not given \(image\). Give floats"):
        model({"image": np.zeros((1, 3, 8, 8), np.float32)})
    for wrong in (frames()[0], np.zeros((1, 3, 8, 8), np.float32), np.ones((1, 1, 8, 8), np.uint16)):
        with pytest.raises(ShapeError, match="Give floats"):
            model({"sparse_depth": wrong})
    with pytest.raises(DataError, match="without one known value"):
        model({"sparse_depth": np.zeros((1, 1, 8, 8), np.float32)})


def test_it_needs_no_torch() -> None:
    program = (
        "import sys\nfor name in ('torch', 'torchvision', 'scipy', 'matplotlib', 'lightning'): sys.modules[name] = None\n"
        "import numpy\nfrom diorama.completion.model import COMPLETIONS, ClassicalModel\n"
        "for name in COMPLETIONS: ClassicalModel(name)({'sparse_depth': numpy.eye(8, dtype=numpy.float32)[None, None]})\nprint('done')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_rooms_from_500_points(real_data: Path) -> None:
    errors: dict[str, list[float]] = {name: [] for name in COMPLETIONS}
    for index, path in enumerate(sorted((real_data / "nyuv2/test/depth").glob("*.png"))[::40]):
        truth = io.read_depth(path, scale=1000.0)[6:234, 8:312]
        draw = np.random.default_rng(index)
        sparse = np.zeros_like(truth)
        chosen = draw.choice(np.flatnonzero(truth > 0), 500, replace=False)
        sparse.flat[chosen] = truth.flat[chosen]
        for name in COMPLETIONS:
            dense = ClassicalModel(name)({"sparse_depth": sparse[None, None]}).depth[0, 0]
            errors[name].append(float(np.sqrt(np.mean((dense - truth)[truth > 0] ** 2))))
    means = {name: np.mean(values) for name, values in errors.items()}
    assert means["linear"] < 0.22
    assert means["linear"] < means["nearest"] < 0.29
