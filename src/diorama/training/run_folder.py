"""The folder of one run: chosen once, never overwritten, every file written whole."""

from __future__ import annotations

import csv
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from diorama.errors import ConfigError

VARIABLE = "DIORAMA_RUN"
"""Hands the folder that the first process chose to the processes it starts."""


class RunFolder:
    """`runs/<method>-<data>-<n>/` with its config, metrics and checkpoint.

    Args:
        path: an existing or new folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.metrics = self.path / "metrics.csv"
        self.checkpoint = self.path / "last.ckpt"
        self.model = self.path / "model.safetensors"

    @classmethod
    def create(cls, out: str | Path, name: str) -> RunFolder:
        """A new folder `out/name-n`, or the one that was `announced`.

        Raises:
            ConfigError: `out` cannot be written to.
        """
        if VARIABLE in os.environ:
            return cls(os.environ[VARIABLE])
        out = Path(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                path = out / f"{name}-{number}"
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    number += 1
        except OSError as error:
            raise ConfigError(
                f"{out}: cannot create a run folder ({error.strerror}). Pass --out with a folder that can be written to."
            ) from error
        return cls(path)

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Inside, this process and those it starts find this folder as theirs."""
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = str(self.path)
        try:
            yield
        finally:
            if before is None:
                del os.environ[VARIABLE]
            else:
                os.environ[VARIABLE] = before

    def discard(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """The whole configuration as config.yaml, and the machine and versions as environment.txt."""
        (self.path / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
        packages = ("diorama", "torch", "torchvision", "timm", "lightning", "numpy", "opencv-python-headless", "onnxruntime")
        lines = [
            f"python {platform.python_version()}",
            f"platform {platform.platform()}",
            f"processor {platform.processor() or platform.machine()}",
        ]
        for package in packages:
            try:
                lines.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                continue
        (self.path / "environment.txt").write_text("\n".join(lines) + "\n")

    def change_config(self, config: Mapping[str, Any], step: int) -> bool:
        """Keep what held until `step` as `config-until-STEP.yaml` and write what holds from now on; False if nothing changed."""
        current = self.path / "config.yaml"
        if current.exists() and yaml.safe_load(current.read_text()) == dict(config):
            return False
        if current.exists():
            current.replace(self.path / f"config-until-{step}.yaml")
        self.write_config(config)
        return True


class MetricsFile:
    """metrics.csv: one row per logged step; a resumed run keeps the rows before its step and appends.

    Args:
        path: the file.
        step: rows from this step on are dropped (a stopped run may have logged beyond its checkpoint).
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) < step]
        self.columns = list(dict.fromkeys(key for row in self.rows for key in row))
        self._rewrite()

    def _rewrite(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; a new column rewrites the file, since stages differ in their terms."""
        self.rows.append({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
        new = [key for key in row if key not in self.columns]
        if new:
            self.columns += new
            self._rewrite()
            return
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(self.rows[-1])
