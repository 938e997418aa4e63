"""The same class everywhere: the row that every table of semantics should have. It never looks at the image.

Not from a paper. Trained, it is the most frequent class of the training labels, which any network has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from diorama.losses.segmentation import weighted_cross_entropy
from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.methods.majority_config import MajorityConfig
from diorama.types import Prediction, Sample


class Majority(Method):
    """One score per class, the logarithm of its share of the training pixels.

    Args:
        config: the number of classes.
    """

    needs: ClassVar[frozenset[str]] = MajorityConfig.needs
    config_class: ClassVar[type[MajorityConfig]] = MajorityConfig
    citation: ClassVar[str] = "No paper: the most frequent class of the training labels."

    def __init__(self, config: MajorityConfig) -> None:
        super().__init__()
        self.config, self.requires = config, self.needs
        self.scores = nn.Parameter(torch.zeros(config.classes))

    def forward(self, image: Tensor) -> Prediction:
        """RGB `(B, 3, H, W)` -> the same scores `(B, K, H, W)` at every pixel."""
        return Prediction(semantic_logits=self.scores[:, None, None] + 0 * image[:, :1])

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        """Cross entropy, which the shares of the classes minimise."""
        del context, turn
        labels = batch["main"]["semantic"].as_subclass(Tensor)
        scores = self.scores[:, None, None].expand(len(labels), -1, *labels.shape[1:])
        return {"segmentation": weighted_cross_entropy(scores, labels)}

    def prepare(self, statistics: Mapping[str, Any]) -> None:
        """The scores from the counted labels: nothing is left to learn."""
        counts = torch.as_tensor(statistics["class_counts"], dtype=torch.float64)
        with torch.no_grad():
            self.scores.copy_(torch.log((counts + 1) / (counts + 1).sum()))

    @property
    def stages(self) -> list[Stage]:
        """One pass at a rate that moves nothing."""
        return [Stage("count", 1, 1e-9, ())]

    def optimisers(self) -> dict[str, Optimizer]:
        """Plain gradient descent."""
        return {"all": SGD([{"params": [self.scores], "rate_factor": 1.0}], lr=1e-9)}
