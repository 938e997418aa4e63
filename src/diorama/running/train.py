"""`diorama train`: one visible loop for every method. Steps, seeds, stages, saving and stopping are all here to read."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric

from diorama import catalog
from diorama.config import RunConfig
from diorama.data.loader import StepLoader, move
from diorama.errors import ConfigError, TrainingError
from diorama.export.model_file import save_model
from diorama.methods.base import Method, StepContext
from diorama.running.evaluate import Evaluation, evaluate_model
from diorama.running.notices import tell_classes, tell_result, tell_units
from diorama.running.origin import begin_with, keep, labels_of, origin_of, require_same_start, told
from diorama.running.points import with_points
from diorama.running.preparation import about, advised, check, class_counts, evaluation_split, launch, rules
from diorama.running.progress import TrainingProgress
from diorama.running.report import write_report
from diorama.running.sample_grid import SampleGrids
from diorama.running.streams import Stream, cached, material, open_streams, sources
from diorama.running.torch_predictor import torch_gather, torch_predictor
from diorama.training.average import MovingAverage
from diorama.training.checkpoint import load_checkpoint, save_checkpoint
from diorama.training.gradients import TaskGradients
from diorama.training.plan import Plan
from diorama.training.run_folder import MetricsFile, RunFolder
from diorama.training.setup import StopSign, agreed, first_says, gathered, is_first, seed_step
from diorama.training.turns import freeze, take_turns
from diorama.types import Sample, seen_resized

logger = logging.getLogger("diorama")

_TRUTH = {"semantic", "depth", "sparse_depth", "disparity"}
"""What a model can be judged by."""


class StoppedError(TrainingError):
    """SIGTERM or Ctrl-C came; everything is saved. `exit_status` is 128 + the number of the signal."""

    exit_status = 143


def train(config: RunConfig, resume: str | Path | None = None, *, baselines: Sequence[str | Path] = ()) -> Path:
    """Train as `config` says, evaluate, and return the run folder.

    Args:
        config: the run; with `resume`, what `resume/config.yaml` holds.
        resume: folder of a stopped run; training goes on where its last.ckpt stands.
        baselines: folders of finished single-task runs; the report then has Delta M.

    Raises:
        UserError: the data lacks what the method needs, a file is damaged, a loss is not finite, memory is short, torchrun or SLURM
            started another number of processes, ...
        StoppedError: SIGTERM or Ctrl-C; the run can be resumed.
    """
    _check_started(config)
    method_class = catalog.method(config.method)
    torch.manual_seed(config.seed)
    method: Method = method_class(config.model)
    streams = open_streams(config, method)
    check(config, streams, baselines)
    if resume:
        require_same_start(Path(resume), config)
    origin = begin_with(method, config.trainer.start_from) if config.trainer.start_from and not resume else None
    run = RunFolder(resume) if resume else RunFolder.create(config.out or "runs", f"{config.method}-{config.dataset}")
    training = None
    try:
        with advised(config):
            fabric, run = launch(config, run)
            if fabric.is_global_zero and not resume:
                run.write_config(config.to_dict())
                if origin:
                    keep(run.path, origin)
            training = Training(config, fabric, method, streams, run)
            if resume:
                training.resume()
                if training.step >= training.total:
                    logger.info("%s has all its %d steps already: only evaluated again", run.path, training.total)
                if fabric.is_global_zero:
                    run.change_config(config.to_dict(), training.step)
            training.run()
            training.finish(baselines)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and run.checkpoint.exists():
            raise KeyboardInterrupt(
                f"stopped by Ctrl-C. Go on from the last checkpoint with `diorama train --resume {run.path}`."
            ) from None
        # what stopped before its first step leaves nothing behind
        if not resume and (training is None or not training.step) and is_first() and not run.checkpoint.exists():
            run.discard()
        raise
    return run.path


def _check_started(config: RunConfig) -> None:
    """Return if torchrun or SLURM, where one of them started this process, has started as many as the run has: else each would train alone.

    Raises:
        ConfigError: it has not.
    """
    settings, processes = config.trainer, config.trainer.devices * config.trainer.nodes
    for who, variable, here in (("torchrun", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"), ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")):
        if here in os.environ and (started := int(os.environ.get(variable, processes))) != processes:
            raise ConfigError(
                f"{who} started {started} processes, trainer.devices {settings.devices} x trainer.nodes {settings.nodes} are {processes}. "
                "Set trainer.devices to the processes per machine, and trainer.nodes to the machines."
            )


class Training:
    """One run in progress.

    Args:
        config: what to do.
        fabric: launched.
        method: the network with its losses, on the CPU.
        streams: training frames.
        run: where results go.
    """

    def __init__(self, config: RunConfig, fabric: Fabric, method: Method, streams: Mapping[str, Stream], run: RunFolder) -> None:
        settings = config.trainer
        self.config, self.fabric, self.method, self.run_folder = config, fabric, method, run
        streams = cached(streams) if config.view.cache else streams
        self.material = material(config, streams)
        served = sources(config, streams)
        self.loader = StepLoader(served, config.seed, fabric.global_rank, fabric.world_size, settings.workers)
        self.plan = Plan(method.stages, self.loader.steps_per_epoch())
        self.total = min(self.plan.total, settings.steps or self.plan.total)
        self.step = 0
        if any("semantic" in stream.needs for stream in streams.values()):
            counts = first_says(fabric, lambda: class_counts(streams, method.config.classes))
            if fabric.is_global_zero and self.material.labels:
                tell_classes(counts, self.material.labels.classes)
            method.prepare({"class_counts": counts, "palette": self.material.labels.palette if self.material.labels else ()})
        if settings.channels_last:
            method.to(memory_format=torch.channels_last)
        self.join = None if settings.gradients == "sum" else TaskGradients(settings.gradients, method)
        optimisers = method.optimisers()
        # everything requires grad here: DDP would never reduce a parameter that was frozen when it wrapped the module
        self.module = fabric.setup_module(method)
        for name in ("losses", "nothing"):
            self.module.mark_forward_method(name)
        self.optimisers: dict[str, Any] = {name: fabric.setup_optimizers(optimiser) for name, optimiser in optimisers.items()}
        self.average = MovingAverage(method, settings.ema)
        self.grids = SampleGrids(method, self.average, served, run.path, config.seed, settings.samples_every)
        self.metrics: MetricsFile | None = None

    def resume(self) -> None:
        """Put everything back as it was at the last checkpoint."""
        inner = {name: optimiser.optimizer for name, optimiser in self.optimisers.items()}
        self.step, served = load_checkpoint(
            self.run_folder.checkpoint,
            name=self.config.method,
            method=self.method,
            average=self.average,
            optimisers=inner,
            precision=self.fabric.strategy.precision,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        self.loader.load_state_dict(served)
        if self.step:
            freeze(self.method, self.plan.stage(min(self.step, self.total) - 1).freeze)

    def run(self) -> None:
        """All steps from where the run stands.

        Raises:
            StoppedError: SIGTERM or Ctrl-C came.
        """
        settings = self.config.trainer
        if self.fabric.is_global_zero:
            self.metrics = MetricsFile(self.run_folder.metrics, self.step)
        self.method.train()
        started, first, speed, due = time.perf_counter(), self.step, 0.0, False
        gauges: dict[str, float] = {}
        with StopSign() as stop, TrainingProgress(self.total, self.step, shown=self.fabric.is_global_zero) as progress:
            batches = iter(self.loader)
            while self.step < self.total:
                # before the step, not after the last one: a run that was stopped in between still has its row
                if self._evaluates():
                    self._log({f"val_{name}": value for name, value in self._judge().items()}, speed, self.step)
                batch = next(batches)
                if self.step == first and self.fabric.is_global_zero:
                    tell_units(batch, self.material.depth_cap)
                terms = self.one_step(batch)
                self.step += 1
                speed = (self.step - first) * settings.batch_size * self.fabric.world_size / (time.perf_counter() - started)
                logs = self.step % settings.log_every == 0 or self.step == self.total
                gauges = self.method.gauges() if logs else gauges
                progress.advance(self.plan.stage(self.step - 1).name, {**terms, **gauges}, speed)
                if logs:
                    self._log({**terms, **gauges}, speed, self.step - 1)
                if self.grids.due(self.step):
                    self.grids.write(self.fabric, self.step, channels_last=settings.channels_last)
                due = due or bool(settings.checkpoint_every and self.step % settings.checkpoint_every == 0)
                # between two updates each process holds a gradient of its own, and a checkpoint has room for one
                whole = self.fabric.world_size == 1 or self.step % settings.accumulate == 0
                if whole and (number := agreed(self.fabric, stop.number)):
                    self.save()
                    stopped = StoppedError(
                        f"stopped at step {self.step} of {self.total}. Go on with `diorama train --resume {self.run_folder.path}`."
                    )
                    # Fabric kills a run of which a process that it started leaves with an error before the first one has left
                    stopped.exit_status = 128 + number if self.fabric.is_global_zero else 0
                    raise stopped
                if whole and due:
                    self.save()
                    due = False
        self.save()

    def _evaluates(self) -> bool:
        epochs = self.config.trainer.evaluate_every
        return bool(epochs and self.step) and self.step % max(1, round(epochs * self.plan.epoch_steps)) == 0

    def one_step(self, batch: Mapping[str, Sample]) -> dict[str, float]:
        """Every turn of one step; the terms as numbers."""
        settings = self.config.trainer
        stage = self.plan.stage(self.step)
        if self.step == 0 or self.plan.enters(self.step):
            freeze(self.method, stage.freeze)
            self.average.restart(self.method.enter(stage))
        self.plan.apply(self.step, [optimiser.optimizer for optimiser in self.optimisers.values()])
        seed_step(self.config.seed, self.step, self.fabric.global_rank)
        meta: list[dict[str, Any]] = [entry for sample in batch.values() for entry in cast("list[Any]", sample["meta"])]
        on_device = move(batch, self.fabric.device, settings.channels_last)
        logs = (self.step + 1) % settings.log_every == 0 or self.step + 1 == self.total
        context = StepContext(self.step, stage, [int(entry["sample_seed"]) for entry in meta], logs)
        said = take_turns(
            self.fabric,
            self.module,
            self.method,
            on_device,
            context,
            self.optimisers,
            ids=[str(entry.get("id", entry.get("index"))) for entry in meta],
            clip_norm=settings.clip_norm,
            accumulate=settings.accumulate,
            join=self.join,
        )
        if (self.step + 1) % settings.accumulate == 0:
            self.average.update()
        return said

    def _log(self, values: Mapping[str, float], speed: float, step: int) -> None:
        done = self.step - 1
        row = {"step": step, "epoch": self.step / self.plan.epoch_steps, "stage": self.plan.stage(done).name, "rate": self.plan.rate(done)}
        if self.metrics is not None:
            self.metrics.append({**row, **values, "images_per_s": speed})
        if self.fabric.loggers:
            self.fabric.log_dict({"rate": row["rate"], **values, "images_per_s": speed}, step=step)

    def save(self) -> None:
        """Write last.ckpt; every process must call."""
        memories = gathered(self.fabric, {name: value.detach().cpu() for name, value in self.method.memory().items()})
        if self.fabric.is_global_zero:
            inner = {name: optimiser.optimizer for name, optimiser in self.optimisers.items()}
            save_checkpoint(
                self.run_folder.checkpoint,
                name=self.config.method,
                method=self.method,
                average=self.average,
                optimisers=inner,
                step=self.step,
                loader=self.loader.state_dict(),
                precision=self.fabric.strategy.precision,
                memories=memories,
            )
        self.fabric.barrier()

    def evaluate(self, examples: int = 0, *, exact: bool = False) -> Evaluation | None:
        """The (averaged) network on the frames that are not trained on; None if the data set has none, or no truth of them.

        Every process must call; each scores its share of the frames and all hold the same result. In the precision of the training, or
        `exact`ly as `diorama evaluate` does it.
        """
        held_out = evaluation_split(self.config)
        if held_out is None:
            return None
        if not held_out.provides & _TRUTH:  # a rig without a depth sensor trains all the same
            logger.warning("%s %s has neither labels nor depth to judge by: not evaluated", held_out.name, held_out.split)
            return None
        protocol = rules(self.config, held_out)
        held_out = with_points(held_out, protocol, self.method.inputs, self.config.sparse)
        precision = self.config.trainer.precision.replace("-true", "")
        precision = "32" if exact and precision != "64" else precision
        with self.average.applied():
            if self.fabric.world_size > 1:
                # since DDP's last broadcast each process has gone on with batch statistics of its own samples
                for buffer in self.method.buffers():
                    torch.distributed.broadcast(buffer, 0)
            return evaluate_model(
                torch_predictor(self.method, self.fabric.device, precision),
                held_out,
                protocol,
                size=self.config.stream_view(self.config.evaluation.stream).size if seen_resized(self.method.inputs) else None,
                batch_size=self.config.trainer.batch_size,
                rank=self.fabric.global_rank,
                world=self.fabric.world_size,
                gather=torch_gather,
                examples=examples,
                inputs=self.method.inputs,
            )

    def _judge(self) -> dict[str, float]:
        found = self.evaluate()
        return {name: found[name] for name in ("miou", "rmse") if name in found.values} if found else {}

    def finish(self, baselines: Sequence[str | Path] = ()) -> None:
        """Write the model file and the last samples, evaluate and write the report."""
        held_out, origin = evaluation_split(self.config), origin_of(self.run_folder.path, self.config)
        if self.fabric.is_global_zero:
            with self.average.applied():
                save_model(
                    self.method,
                    self.run_folder.model,
                    labels=self.material.labels if self.material.learnt else labels_of(origin) or self.material.labels,
                    depth_cap=self.material.depth_cap,
                    input_size=self.config.view.size,
                    training={"terms": self.material.terms, **about(self.config, self.step, origin, self.material.name), **told(origin)},
                )
        self.grids.write(self.fabric, self.step, channels_last=self.config.trainer.channels_last)
        found = self.evaluate(examples=2, exact=True)
        if found is not None and held_out is not None and self.fabric.is_global_zero:
            facts = about(self.config, self.total, origin, self.material.name)
            write_report(found, self.run_folder.path, model=facts, baselines=baselines, run=self.run_folder.path)
            tell_result(found, self.run_folder.path)
