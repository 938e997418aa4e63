"""Every switch of the multi-task GANs, with the paper's value as the default. Imports no torch, so that help and checks answer at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from diorama.errors import ConfigError


@dataclass(frozen=True)
class MultitaskGANConfig:
    """Configuration of `multitask_gan`.

    The rows of Table I: CycleGAN is `pooling=[] structure_weight=0`, +MSSP is `structure_weight=0`, +Lrec is `pooling=[]`, Total is the
    default. GcGAN is `consistency=rotation` or `flip` with `pooling=[] structure_weight=0`. The rows of Table II are those of the depth
    branch: `semantic_input`, `depth_weight=0`, `smooth_weight=0` and `smooth_guide`.

    Args:
        branch: "semantic" learns photo <-> label image from both, unpaired; "depth" learns dense depth with the generated semantics of a
            trained semantic branch, which stands still; "joint" learns both at once (not in the paper).
        classes: semantic classes K. The colours are those of the training data's label set; black is "ignore", the class K.
        width: channels after the first convolution of generators and discriminators (64, sec. IV-B).
        semantic_blocks: residual blocks of Gs and Fs, sec. IV-B.
        depth_blocks: residual blocks of Gd and Fd, sec. IV-C.
        pooling: kernels of the multi-scale spatial pooling block of Gs and Fs, sec. IV-B; empty: no such block.
        depth_pooling: likewise for Gd and Fd (none in sec. IV-C).
        gan_loss: "lsgan", least squares, is what CycleGAN trains with; "log" is (3) as printed.
        consistency: "cycle" is (4); "rotation" and "flip" are GcGAN's geometry consistency, a compared row of Table I.
        cycle_weight: lambda_1 of (1), sec. IV-B.
        structure_weight: lambda_2 of (1), sec. IV-B.
        geometry_weight: of GcGAN's consistency.
        depth_cycle_weight, depth_structure_weight: lambda_3 and lambda_4 of (6), sec. IV-C.
        depth_weight, smooth_weight: lambda_5 and lambda_6 of (6), sec. IV-C.
        depth_unit: "m": (7) in square metres and (8) in metres; "tanh": both in the network's coding, 1600 and 40 times weaker.
        semantic_input: whether Gd and Fd see the generated semantics; without, the first row of Table II.
        smooth_guide: what damps (8): the generated "semantic" image, the photo ("rgb"), or "labels", the classes nearest to the generated
            image, across whose borders (8) asks nothing.
        edge_scale: factor on the gradient in the exponent of (8), 1 as printed.
        dense: what dense depth is: the data's own "truth", or the sparse depth of other frames "filled" without training.
        max_depth: depth [m] that the largest output stands for.
        min_depth: smallest depth that is predicted [m].
        buffer: generated images that the discriminators are shown again; 0: only fresh ones (50 as in CycleGAN).
        rate: learning rate of Adam in the first half of the training, which falls to 0 in the second, sec. IV-B.
        epochs: 100 at full rate and 100 falling, sec. IV-B; passes through the first stream.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "semantic", "sparse_depth", "depth"})
    """Keys of `Sample` that the whole method trains on; here, so that `diorama methods` answers without torch."""

    meanings: ClassVar[dict[str, str]] = {"pooling": "semantic.to_", "depth_pooling": "depth.", "max_depth": "depth."}
    """Settings that no shape shows -> beginning of the names of the weights that mean something else under another value."""

    branch: Literal["semantic", "depth", "joint"] = "semantic"
    classes: int = 19
    width: int = 64
    semantic_blocks: int = 6
    depth_blocks: int = 9
    pooling: tuple[int, ...] = (1, 4, 9)
    depth_pooling: tuple[int, ...] = ()
    gan_loss: Literal["lsgan", "log"] = "lsgan"
    consistency: Literal["cycle", "rotation", "flip"] = "cycle"
    cycle_weight: float = 10.0
    structure_weight: float = 2.0
    geometry_weight: float = 20.0
    depth_cycle_weight: float = 10.0
    depth_structure_weight: float = 1.0
    depth_weight: float = 0.5
    smooth_weight: float = 0.5
    depth_unit: Literal["m", "tanh"] = "m"
    semantic_input: bool = True
    smooth_guide: Literal["semantic", "rgb", "labels"] = "semantic"
    edge_scale: float = 1.0
    dense: Literal["truth", "filled"] = "truth"
    max_depth: float = 80.0
    min_depth: float = 0.9
    buffer: int = 50
    rate: float = 2e-4
    epochs: float = 200

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= 254:
            raise ConfigError(f"model.classes is {self.classes}: give the number of classes, 2 to 254.")
        if self.width < 1 or min(self.semantic_blocks, self.depth_blocks) < 0:
            raise ConfigError("model.width must be at least 1, and the numbers of residual blocks at least 0.")
        if any(kernel < 1 for kernel in (*self.pooling, *self.depth_pooling)):
            raise ConfigError(f"model.pooling is {list(self.pooling)}: give kernel sizes of at least 1, e.g. [1, 4, 9], or [] for none.")
        if self.consistency != "cycle" and self.structure_weight:
            raise ConfigError("GcGAN translates nothing back, so (5) compares nothing. Set model.structure_weight=0.")
        weights = (
            self.cycle_weight, self.structure_weight, self.geometry_weight, self.depth_cycle_weight, self.depth_structure_weight,
            self.depth_weight, self.smooth_weight,
        )  # fmt: skip
        if min(weights) < 0:
            raise ConfigError("a loss has a negative weight. Set model.*_weight to 0 or more.")
        if not 0 < self.min_depth < self.max_depth:
            raise ConfigError(f"model.min_depth={self.min_depth}, model.max_depth={self.max_depth}: choose 0 < min_depth < max_depth.")
        if self.smooth_guide != "rgb" and self.smooth_weight and not self.semantic_input and self.branch != "semantic":
            raise ConfigError("without semantic_input there is no semantic image to damp (8) with. Set model.smooth_guide=rgb.")
        if self.branch == "joint" and not self.semantic_input:
            raise ConfigError("joint training without semantic_input is two trainings. Set model.branch=semantic, or depth.")
        if self.buffer < 0 or self.epochs <= 0 or self.rate <= 0 or self.edge_scale < 0:
            raise ConfigError("model.buffer and edge_scale must be at least 0, model.rate and epochs above 0.")

    @property
    def starts(self) -> str:
        """Why a training cannot begin with nothing, and what to do; empty where it can."""
        if self.branch != "depth" or not self.semantic_input:
            return ""
        return (
            "the depth branch sees generated semantics, and nothing generates them yet. Train model.branch=semantic first and pass "
            "its run with --trainer.start_from (its classes, width, semantic_blocks and pooling have to be those of this run), or "
            "set model.semantic_input=false."
        )

    @property
    def tasks(self) -> str:
        """What is predicted: "semantic", "depth", or "both"."""
        return "semantic" if self.branch == "semantic" else "both" if self.semantic_input else "depth"
