"""report.html of an evaluation: one self-contained page with every number, its protocol, where the errors are and how they look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from diorama.data.io import read_image, replacing
from diorama.evaluation.delta import DeltaM, Run, delta_m
from diorama.evaluation.protocols import Measured
from diorama.running import figures, sweep_figures
from diorama.running.pictures import data_uri, error_top, strip
from diorama.running.records import class_rows, environment, write_records

if TYPE_CHECKING:
    from diorama.running.evaluate import Evaluation

LABELS = {
    "miou": "mIoU", "pixel_accuracy": "pixel accuracy", "class_accuracy": "class accuracy",
    "class_accuracy_all": "class accuracy, absent classes as 0", "rmse": "RMSE", "mae": "MAE", "abs_rel": "abs rel",
    "sq_rel": "sq rel, / d", "sq_rel_squared": "sq rel, / d²", "rmse_log": "RMSE log", "log10": "log10", "irmse": "iRMSE", "imae": "iMAE",
    "delta1": "δ < 1.25", "delta2": "δ < 1.25²", "delta3": "δ < 1.25³", "ause": "AUSE (RMSE)",
    "confidence_auc": "confidence, ROC area", "confidence_area": "confidence, area of bad pixels",
    "confidence_optimum": "least possible area", "confidence_ause": "confidence, AUSE (RMSE)",
    "confidence_accuracy": "confidence, right at 0.5", "threshold_accuracy": "confidence, right at the image's threshold",
    "disparity_right": "right disparities",
}  # fmt: skip
_CARDS = ("miou", "pixel_accuracy", "rmse", "abs_rel", "delta1", "confidence_auc", "confidence_accuracy", "disparity_right")
_PERCENT = {"miou", "pixel_accuracy", "class_accuracy", "class_accuracy_all", "delta1", "delta2", "delta3", "disparity_right"}


def write_report(
    evaluation: Evaluation,
    out: str | Path,
    *,
    model: Mapping[str, Any] | None = None,
    baselines: Sequence[str | Path] = (),
    run: str | Path | None = None,
    title: str | None = None,
) -> Path:
    """Write metrics.json, the CSV files and report.html into `out`; returns the path of the page.

    Args:
        evaluation: of `evaluate_model(..., examples=2)`, so that frames can be shown.
        out: folder, made if needed.
        model: what the model is; see `records.metrics_dict`.
        baselines: metrics.json files (or their folders) of single-task runs, for Delta M.
        run: folder whose metrics.csv holds the training curve.
        title: headline; None makes one of model and data.

    Raises:
        ProtocolError: a baseline has another protocol, backbone, data or budget.
        DataError: a baseline cannot be read.
    """
    folder = Path(out)
    write_records(evaluation, folder, model)
    gain = delta_m([Run.read(folder)], [Run.read(path) for path in baselines]) if baselines else None
    page = folder / "report.html"
    text = render(evaluation, model=model or {}, gain=gain, run=Path(run) if run else None, title=title)
    with replacing(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


def render(
    evaluation: Evaluation, *, model: Mapping[str, Any], gain: DeltaM | None = None, run: Path | None = None, title: str | None = None
) -> str:
    """The page as text; everything it shows is inside it.

    Args:
        evaluation: what to show.
        model: facts about the model, printed as they are.
        gain: Delta M, if there is one.
        run: folder with a metrics.csv of the training.
        title: headline.
    """
    protocol, top = evaluation.protocol, error_top(evaluation.examples)
    classes = class_rows(evaluation)
    name = str(model.get("name", model.get("method", "model")))
    matrix = evaluation.confusion
    page = Environment(
        loader=PackageLoader("diorama.running"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html.j2")
    return page.render(
        title=title or f"{name} on {protocol.dataset} {protocol.split}",
        cards=_cards(evaluation, gain),
        metrics=[_row(measured) for measured in evaluation.values.values()],
        protocol=protocol,
        gain=gain,
        gain_tasks=[(LABELS.get(key, key), f"{100 * value:+.1f} %") for key, value in gain.tasks.items()] if gain else [],
        classes=_class_bars(evaluation, classes),
        counted=sum(row["iou"] is not None for row in classes),
        legend=_legend(evaluation),
        confusion=figures.confusion_chart(matrix, evaluation.labels.classes) if matrix is not None and evaluation.labels else None,
        cells=figures.cells_chart(evaluation.breakdown) if evaluation.breakdown else None,
        ranges=figures.ranges_chart(evaluation.breakdown) if evaluation.breakdown else None,
        worst=_worst_cells(evaluation),
        density=sweep_figures.density_chart({name: evaluation.density}) if evaluation.density else None,
        calibration=sweep_figures.calibration_chart({f"read as {curve.law}": curve for curve in evaluation.calibration})
        if evaluation.calibration
        else None,
        strips=[
            strip(example, evaluation.labels, top, "Generated photo" if protocol.parsed_by else "Image") for example in evaluation.examples
        ],
        curves=figures.curves_chart(run / "metrics.csv") if run else None,
        samples=_samples(run) if run else None,
        model=[(key, value) for key, value in model.items() if value is not None],
        environment=environment(),
        seconds=f"{evaluation.seconds:.0f}",
    )


def _samples(run: Path) -> dict[str, str] | None:
    """The last picture of what the method shows of itself, with its caption."""
    newest = max((run / "samples").glob("step_*.png"), default=None)
    if newest is None:
        return None
    step = int(newest.stem.removeprefix("step_"))
    return {
        "source": data_uri(read_image(newest), photo=True),
        "caption": f"The same training samples throughout, here after {step} steps.",
    }


def _number(measured: Measured, value: float) -> str:
    if measured.name in _PERCENT:
        return f"{100 * value:.1f} %"
    digits = f"{value:.1f}" if measured.unit in ("1/km", "mm") else f"{value:.3f}"
    return digits if measured.unit == "1" else f"{digits} {measured.unit}"


def _interval(measured: Measured) -> str:
    if measured.interval is None:
        return ""
    low, high = (_number(measured, value) for value in measured.interval)
    unit = low.partition(" ")[2]
    return f"{low.removesuffix(unit).strip()} to {high}" if unit else f"{low} to {high}"


def _row(measured: Measured) -> dict[str, str]:
    return {
        "key": measured.name,
        "label": LABELS.get(measured.name, measured.name),
        "value": _number(measured, measured.value),
        "interval": _interval(measured),
        "better": measured.better,
        "frames": str(measured.frames),
    }


def _cards(evaluation: Evaluation, gain: DeltaM | None) -> list[dict[str, str]]:
    cards = [_row(evaluation.values[key]) for key in _CARDS if key in evaluation.values]
    if gain is not None:
        low, high = gain.interval or (gain.value, gain.value)
        span = f"{100 * low:+.1f} to {100 * high:+.1f} %" if gain.interval else ""
        cards.append({"key": "delta_m", "label": "Δ M", "value": f"{100 * gain.value:+.1f} %", "interval": span, "better": "higher"})
    return cards


def _class_bars(evaluation: Evaluation, classes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if evaluation.labels is None:
        return []
    total = max(1, sum(row["pixels"] for row in classes))
    return [
        {
            **row,
            "colour": "#{:02x}{:02x}{:02x}".format(*evaluation.labels.palette[row["id"]]),
            "width": f"{100 * (row['iou'] or 0):.1f}",
            "text": "absent" if row["iou"] is None else f"{100 * row['iou']:.1f}",
            "share": f"{100 * row['pixels'] / total:.2f}",
        }
        for row in sorted(classes, key=lambda row: -1.0 if row["iou"] is None else row["iou"], reverse=True)
    ]


def _worst_cells(evaluation: Evaluation, most: int = 10) -> list[dict[str, str]]:
    """The cells that hold most of the squared depth error."""
    if evaluation.breakdown is None:
        return []
    cells = evaluation.breakdown.rows()
    pixels, squares = sum(cell["pixels"] for cell in cells), sum(cell["pixels"] * cell["rmse_m"] ** 2 for cell in cells)
    cells.sort(key=lambda cell: cell["pixels"] * cell["rmse_m"] ** 2, reverse=True)
    return [
        {
            "what": f"{cell['class']}, {cell['range']}, {cell['band']}",
            "pixels": f"{100 * cell['pixels'] / pixels:.1f}",
            "rmse": f"{cell['rmse_m']:.2f}",
            "interval": f"{cell['rmse_low']:.2f} to {cell['rmse_high']:.2f}" if math.isfinite(cell["rmse_low"]) else "",
            "share": f"{100 * cell['pixels'] * cell['rmse_m'] ** 2 / max(squares, 1e-300):.1f}",
        }
        for cell in cells[:most]
    ]


def _legend(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Name and colour of the classes that occur in the shown frames."""
    if evaluation.labels is None:
        return []
    maps = [part for example in evaluation.examples for part in (example.semantic, example.predicted_semantic) if part is not None]
    seen = {int(value) for part in maps for value in set(part.reshape(-1).tolist())}
    present = sorted(value for value in seen if value < len(evaluation.labels))
    return [(evaluation.labels.classes[k], "#{:02x}{:02x}{:02x}".format(*evaluation.labels.palette[k])) for k in present]
