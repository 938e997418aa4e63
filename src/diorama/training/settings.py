"""Settings of a training run that belong to no method: machine, batch, precision, saving. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diorama.errors import ConfigError

Gradients = Literal["sum", "mgda", "pcgrad", "imtl_g", "aligned_mtl", "cagrad", "upgrad"]


@dataclass(frozen=True)
class Trainer:
    """How to train, whatever the method.

    Args:
        start_from: a trained model (shipped name, run folder or .safetensors file) whose weights the run begins with; weights of other
            names or shapes, such as the head for another number of classes, start new. Set model.pretrained=false beside it.
        batch_size: samples per source, process and step.
        accumulate: steps whose gradients are averaged before one update.
        steps: stop after this many steps even if the stages are longer; stages keep their schedules. None: run all stages.
        accelerator: "auto" takes a GPU if there is one.
        devices: processes per machine; on a CPU each is a process with its own threads.
        nodes: machines.
        precision: "bf16-mixed" halves the time on CPUs with AVX512-BF16 and on recent GPUs.
        channels_last: memory layout; faster for every convolutional backbone measured here.
        threads: torch threads per process; 0 leaves torch's choice.
        workers: processes that read and augment; 0 reads in the training process.
        gradients: how the gradients of the tasks are joined where they move the same parameters: "sum", or a method of torchjd, which costs
            a backward pass and a gradient of the network per task; see "Balancing tasks" on the page of semi_mtl.
        clip_norm: largest gradient norm of an update; 0 turns clipping off.
        ema: decay of the moving average of the weights that is evaluated and saved; 0 turns it off.
        log_every: steps between two rows of metrics.csv.
        checkpoint_every: steps between two checkpoints (one is also written at the end, on SIGTERM and on Ctrl-C).
        samples_every: steps between two pictures of what the method shows of itself, in the run's folder `samples`; 0: at the end alone.
        evaluate_every: epochs between two evaluations during training; 0 evaluates at the end alone.
        loggers: "csv" is always on; "tensorboard", "wandb" and "mlflow" need their packages.
    """

    start_from: str | None = None
    batch_size: int = 8
    accumulate: int = 1
    steps: int | None = None
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    channels_last: bool = True
    threads: int = 0
    workers: int = 2
    gradients: Gradients = "sum"
    clip_norm: float = 0.0
    ema: float = 0.0
    log_every: int = 10
    checkpoint_every: int = 200
    samples_every: int = 0
    evaluate_every: float = 0.0
    loggers: tuple[str, ...] = ("csv",)

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "devices", "nodes", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)}. Set it to 1 or more.")
        for name in ("threads", "workers", "clip_norm", "checkpoint_every", "samples_every", "evaluate_every"):
            if getattr(self, name) < 0:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)}. Set it to 0 or more.")
        if self.gradients != "sum" and self.precision == "16-mixed":
            raise ConfigError(f"trainer.gradients={self.gradients} knows no scaled gradients. Set trainer.precision=bf16-mixed or 32-true.")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"trainer.steps is {self.steps}. Set it to 1 or more, or leave it out to run all stages.")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"trainer.ema is {self.ema}. Set a decay from 0 (off) to below 1, e.g. 0.99.")
