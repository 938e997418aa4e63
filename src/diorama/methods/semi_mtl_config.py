"""Every switch of SemiMTL, with the paper's value as the default. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from diorama.errors import ConfigError

Task = Literal["semantic", "depth"]
Alignment = Literal["none", "adapt", "adapt_truth", "binary", "m1", "m2", "m3"]


@dataclass(frozen=True)
class SemiMTLConfig:
    """Configuration of `semi_mtl`.

    Args:
        classes: semantic classes K of the label space that all data sets share.
        tasks: "both", or one alone: the single-task rows STL and DA.
        sets: name of a stream -> the tasks that are learnt from its labels, `[]` for images alone. What each stream reads is said
            by the section `streams`. Labels of tasks that are not named here are never read. Domains are numbered in alphabetical order.
        absent: name of a stream -> classes that its label maps do not know; there they are left out of the softmax of the supervised loss.
        alignment: what discriminators tell apart and predictions shall pass for. "none": no discriminator (STL, JTL). "adapt":
            predictions on unlabelled data pass for those on labelled ones (DA), "adapt_truth": for the truth. "binary": truth against
            any prediction (SemiSD). "m1", "m2", "m3": domains, modes (4), (5), (6) of SemiMTL.
        generator_update: "accumulated": one update per step on all data sets, "per_dataset": one on each, as Algorithm 1 is printed.
        mask_void: discriminators see neither pixels without a label nor their place in predictions; see the choices.
        truth_smoothing: share of a true pixel that discriminators see spread over all classes; 0 is the paper's one-hot.
        semantic_weight, depth_weight: w of (1), sec. 4.1.
        intra_weight, inter_weight: lambda of (7), sec. 4.1; DA has the latter alone.
        weighting: "fixed" weights of (1); "uncertainty" or "dwa" on top of them (not in the paper).
        dwa_steps: steps that "dwa" averages over.
        norm: "shared" keeps one running mean and variance in each batch norm, "per_domain" one per data set (not in the paper). Training
            itself is the same, since each data set is a batch of its own: what differs is what evaluation normalises with.
        norm_domain: with "per_domain", the data set whose statistics evaluation and exports use; None: the mean over all.
        depth_unit: what the network regresses: "inverse" depth (sec. 4.1, streets), or depth, "linear" (heights).
        depth_scale: "inverse": metres that an output of 1 means, 1 for 1/m; "linear": metres per 1. Discriminators see outputs: about 0..1.
        max_depth: metres; known depth beyond, and predictions beyond, count as this far.
        backbone: any timm backbone that offers `features_only`.
        output_stride: 8 dilates the last two stages; 32 keeps a backbone without dilation and fuses its levels into stride-8 features by a
            feature pyramid (for CPUs; not in the paper).
        pretrained: load timm's ImageNet weights (needs the network or timm's cache). `backbone_weights` goes first.
        backbone_weights: a file of backbone weights (.pth, .pt, .safetensors) in timm's, torchvision's or another order-compatible naming.
        width: channels of the 3x3 convolution after pyramid pooling, and of the feature pyramid.
        depth_widths: channels of the depth decoder's convolutions; it upsamples by 2 between them (not given in the paper).
        judge_width: channels of the discriminators' first convolution, sec. 3.4.
        optimiser: "sgd" is the paper's; "adamw" for short schedules.
        rate, momentum, weight_decay, schedule: of the network, sec. 4.1.
        judge_rate: of the discriminators' Adam (0.9, 0.99), constant, sec. 4.1.
        pretrained_rate: rate of pretrained layers over that of new ones (the paper has 1).
        epochs: passes through the data set whose name comes first in the alphabet (not given in the paper).
        warmup: part of the training in which the rate rises from 0 (not in the paper).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "depth"})
    """Keys of `Sample` that the whole method trains on; here, so that `diorama methods` answers without torch."""

    meanings: ClassVar[dict[str, str]] = {"depth_unit": "network.depth.", "depth_scale": "network.depth."}
    """Settings that no shape shows -> beginning of the names of the weights that mean something else under another value."""

    classes: int = 19
    tasks: Literal["both", "semantic", "depth"] = "both"
    sets: dict[str, list[Task]] = field(default_factory=lambda: {"labelled": ["semantic"], "measured": ["depth"]})
    absent: dict[str, list[int]] = field(default_factory=dict)
    alignment: Alignment = "m2"
    generator_update: Literal["accumulated", "per_dataset"] = "accumulated"
    mask_void: bool = True
    truth_smoothing: float = 0.0
    semantic_weight: float = 1.0
    depth_weight: float = 0.01
    intra_weight: float = 1e-3
    inter_weight: float = 1e-4
    weighting: Literal["fixed", "uncertainty", "dwa"] = "fixed"
    dwa_steps: int = 100
    norm: Literal["shared", "per_domain"] = "shared"
    norm_domain: str | None = None
    depth_unit: Literal["inverse", "linear"] = "inverse"
    depth_scale: float = 1.0
    max_depth: float = 80.0
    backbone: str = "resnet101"
    output_stride: Literal[8, 32] = 8
    pretrained: bool = True
    backbone_weights: str | None = None
    width: int = 512
    depth_widths: tuple[int, ...] = (256, 128, 64)
    judge_width: int = 64
    optimiser: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    judge_rate: float = 1e-4
    pretrained_rate: float = 1.0
    epochs: float = 100
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ConfigError(f"model.classes is {self.classes}: semantics needs at least 2 classes.")
        for name in ("depth_scale", "max_depth", "rate", "judge_rate", "epochs", "dwa_steps", "judge_width"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"model.{name} is {getattr(self, name)}. Set it above 0.")
        if not 0 <= self.truth_smoothing < 1:
            raise ConfigError(f"model.truth_smoothing is {self.truth_smoothing}: give a share below 1, e.g. 0.1, or 0 for one-hot.")
        # files keep no order of keys, and a discriminator's classes are numbered by it
        object.__setattr__(self, "sets", dict(sorted(self.sets.items())))
        self._check_sets()
        if self.norm_domain is not None and (self.norm == "shared" or self.norm_domain not in self.sets):
            raise ConfigError(
                f"model.norm_domain is '{self.norm_domain}': name one of {', '.join(self.sets)}, and set model.norm=per_domain."
            )
        for name, classes in self.absent.items():
            if "semantic" not in self.sets.get(name, []):
                raise ConfigError(
                    f"model.absent names '{name}', from which no semantics is learnt. Name one of model.sets that has labels."
                )
            if not set(classes) < set(range(self.classes)):
                raise ConfigError(f"model.absent.{name} is {classes}: give some, not all, of the classes 0..{self.classes - 1}.")

    def _check_sets(self) -> None:
        """Every task has a data set that teaches it, and discriminators have something to tell apart."""
        for name, tasks in self.sets.items():
            if not name or "." in name or len(set(tasks)) < len(tasks):
                raise ConfigError(f"model.sets has '{name}': {tasks}. Give a name without a dot, and each task once.")
        for task in self.active:
            if not self.labelled(task):
                raise ConfigError(f"no data set teaches {task}: model.sets is {self.sets}. Add it to one that has it, or set model.tasks.")
        if self.alignment.startswith("adapt") and all(len(self.labelled(task)) == len(self.sets) for task in self.active):
            raise ConfigError("all of model.sets teach every task: nothing is to be adapted. Add images (NAME: []) or set model.alignment.")

    @property
    def active(self) -> tuple[Task, ...]:
        """The tasks that are predicted."""
        return ("semantic", "depth") if self.tasks == "both" else (self.tasks,)

    def labelled(self, task: Task) -> list[str]:
        """The data sets that teach `task`."""
        return [name for name, tasks in self.sets.items() if task in tasks]

    @property
    def domains(self) -> int:
        """How many kinds of maps a discriminator tells apart: K + 1, or 2 of the compared rows."""
        return len(self.sets) + 1 if self.alignment in ("m1", "m2", "m3") else 2
