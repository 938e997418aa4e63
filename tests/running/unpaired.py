"""A small adversarial method for tests: two streams, two turns, a buffer of generated images, a gauge and something to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from diorama.methods.base import Method, Stage, StepContext, Turn
from diorama.types import IGNORE, Prediction, Sample


@dataclass(frozen=True)
class UnpairedConfig:
    """Configuration of `unpaired`."""

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic"})

    classes: int = 13
    epochs: float = 3
    buffer: int = 3
    """Generated images that are remembered."""
    norm: bool = True
    optimiser: str = "adam"
    idle: tuple[int, ...] = ()
    """Steps at which the judge has nothing to learn."""
    silent: tuple[int, ...] = ()
    """Steps at which nobody has."""


class Unpaired(Method):
    """Photos become label maps that a judge cannot tell from true ones."""

    needs: ClassVar[frozenset[str]] = UnpairedConfig.needs
    config_class = UnpairedConfig
    citation = "None."

    def __init__(self, config: UnpairedConfig) -> None:
        super().__init__()
        self.config, self.requires = config, self.needs
        norm = nn.BatchNorm2d(4) if config.norm else nn.Identity()
        self.generator = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm, nn.Conv2d(4, config.classes, 1))
        self.judge = nn.Conv2d(config.classes, 1, 4, 2)
        self.buffer = torch.zeros(0)
        self.right = 0.0
        self.asked: list[str] = []

    @property
    def streams(self) -> Mapping[str, frozenset[str]]:
        return {"photos": frozenset({"image"}), "labels": frozenset({"semantic"})}

    def forward(self, image: Tensor) -> Prediction:  # type: ignore[override]
        logits = self.generator(image)
        return Prediction(logits, 1 + logits[:, :1].abs())

    def turns(self, context: StepContext) -> list[Turn]:
        return [Turn("generator", "generator"), Turn("judge", "judge")]

    def losses(self, batch: Mapping[str, Sample], context: StepContext, turn: Turn) -> dict[str, Tensor]:
        assert list(batch) == ["photos", "labels"]
        assert set(batch["photos"]) == {"image", "meta"}
        assert set(batch["labels"]) == {"semantic", "meta"}
        if context.step in self.config.silent or (turn.name == "judge" and context.step in self.config.idle):
            return {}
        made = self.generator(batch["photos"]["image"].as_subclass(Tensor)).softmax(1)
        if turn.name == "generator":
            assert not any(parameter.requires_grad for parameter in self.judge.parameters())
            return {"fool": (self.judge(made) - 1).square().mean()}
        labels = batch["labels"]["semantic"].as_subclass(Tensor)
        known = torch.where(labels == IGNORE, 0, labels)
        real = self.judge(nn.functional.one_hot(known, self.config.classes).movedim(-1, 1).float())
        fake = self.judge(self.exchanged(made.detach(), context.sample_seed[: len(made)]))
        self.right = 0.9 * self.right + 0.1 * float((real > fake).float().mean())
        return {"real": (real - 1).square().mean(), "fake": fake.square().mean()}

    def exchanged(self, made: Tensor, seeds: list[int]) -> Tensor:
        """The generated images, half of them changed for older ones once there are some."""
        given = []
        for image, seed in zip(made, seeds, strict=True):
            if len(self.buffer) < self.config.buffer:
                self.buffer = torch.cat([self.buffer.reshape(-1, *image.shape), image[None]])
            elif self.config.buffer and seed % 2:
                place = seed // 2 % len(self.buffer)
                image, self.buffer = self.buffer[place].clone(), self.buffer.index_copy(0, torch.tensor([place]), image[None])
            given.append(image)
        return torch.stack(given)

    @property
    def stages(self) -> list[Stage]:
        return [Stage("all", self.config.epochs, 0.05, (), "flat_linear")]

    def optimisers(self) -> dict[str, Optimizer]:
        kind: Any = Adam if self.config.optimiser == "adam" else SGD
        return {name: kind([{"params": list(getattr(self, name).parameters()), "rate_factor": 1.0}]) for name in ("generator", "judge")}

    def prepare(self, statistics: Mapping[str, Any]) -> None:
        self.counts = statistics["class_counts"]

    def gauges(self) -> dict[str, float]:
        return {"judge_right": self.right}

    def samples(self, batch: Mapping[str, Sample]) -> dict[str, Tensor]:
        assert not self.training and not torch.is_grad_enabled()
        self.asked.append(",".join(str(entry["index"]) for entry in batch["photos"]["meta"]))  # type: ignore[arg-type, attr-defined]
        photos = batch["photos"]["image"].as_subclass(Tensor)
        torch.rand(3)  # what is drawn here must not matter
        return {"photo": photos, "generated": self.generator(photos).softmax(1)[:, :3]}

    def memory(self) -> dict[str, Tensor]:
        return {"buffer": self.buffer, "right": torch.tensor(self.right, dtype=torch.float64)}

    def recall(self, state: Mapping[str, Tensor]) -> None:
        self.buffer, self.right = state["buffer"], float(state["right"])
