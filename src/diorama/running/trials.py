"""What a rounded model is fitted to and judged on: frames of a data set, under a protocol, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from diorama.data.base import SceneDataset
from diorama.data.sparsify import Sparsify
from diorama.errors import ConfigError
from diorama.evaluation.protocols import Protocol, by_name
from diorama.export.config import ModelConfig, input_keys
from diorama.export.trial import Runs, Trial
from diorama.prediction.predictor import Model, Predictor
from diorama.running.batches import network_inputs
from diorama.running.evaluate_file import default_protocol, evaluate
from diorama.running.points import with_points

CALIBRATION_FRAMES = 300


class CalibrationFrames:
    """Every n-th frame of a data set as the network takes it, read anew in each pass: a list of them may not fit into memory.

    Args:
        dataset: with what the network takes.
        keys: its inputs.
        size: (height, width) it sees; None: as stored.
        count: largest number of frames.
    """

    def __init__(self, dataset: SceneDataset, keys: tuple[str, ...], size: tuple[int, int] | None, count: int) -> None:
        self.dataset, self.keys, self.size = dataset, keys, size
        self.numbers = sorted({int(number) for number in np.linspace(0, len(dataset) - 1, min(count, len(dataset)))})

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        for number in self.numbers:
            found = network_inputs(self.dataset.frame(number), self.keys, self.size)
            yield {key: value[None] for key, value in found.items()}


def trial_on(
    config: ModelConfig,
    judging: SceneDataset,
    calibrating: SceneDataset,
    protocol: str | Protocol | None = None,
    *,
    frames: int = CALIBRATION_FRAMES,
    sparse: Sparsify | None = None,
    max_points: float = 1.0,
    max_percent: float = 2.0,
    progress: bool = True,
) -> Trial:
    """The trial of the model of `config` on frames of two splits.

    Args:
        config: of the model.
        judging: frames with labels, depth or disparity.
        calibrating: frames of the same kind that are not among them.
        protocol: see `evaluate`.
        frames: at most so many of `calibrating`.
        sparse: see `evaluate`.
        max_points: see `Trial`.
        max_percent: see `Trial`.
        progress: draw progress bars.

    Raises:
        ConfigError: no calibration frames, or the same ones judge.
    """
    if frames < 1 or not len(calibrating):
        raise ConfigError(f"{frames} of {len(calibrating)} frames to fit int8 to. Choose 1 or more, of a split that has some.")
    if judging.split == calibrating.split:
        raise ConfigError(f"split '{judging.split}' cannot both fit int8 and judge it. Choose another --calibration-split.")
    rules = default_protocol(judging) if protocol is None else by_name(protocol) if isinstance(protocol, str) else protocol
    keys, trained = input_keys(config), config["input"].get("size")
    size = (int(trained[0]), int(trained[1])) if trained else None
    chosen = CalibrationFrames(with_points(calibrating, rules, keys, sparse), keys, size, frames)

    def judge(network: Runs) -> Mapping[str, float]:
        predictor = Predictor(cast("Model", network), config["method"], "trial")
        found = evaluate(predictor, judging, rules, sparse=sparse, batch_size=1, progress=progress)
        return {name: measured.value for name, measured in found.values.items()}

    facts: dict[str, Any] = {
        "protocol": rules.name,
        "judged_on": f"{judging.name} {judging.split}, {len(judging)} frames",
        "fitted_to": f"{calibrating.name} {calibrating.split}, {len(chosen)} frames",
    }
    return Trial(judge, chosen, max_points, max_percent, facts)
