"""An evaluation as text for people and as JSON for programs."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.manifest import DatasetInfo
from pipeline.learning.assessment import Assessment
from pipeline.learning.folder import write_bytes
from pipeline.learning.latency import Footprint
from pipeline.learning.metrics import BOUNDARY_TOLERANCE, boundary_tolerance
from pipeline.learning.network import count_built_macs
from pipeline.runtime.confusion_figure import confusion_png, row_shares
from pipeline.runtime.networks import Network
from pipeline.runtime.storage import open_folder

_FIGURE, _JSON = "confusion.png", "evaluation.json"


@dataclass(frozen=True)
class Evaluation:
    """One network on one split of one data set, and its speed on this machine."""

    network: Network
    info: DatasetInfo
    split: str
    assessment: Assessment
    speed: Footprint


def write_files(evaluation: Evaluation, output: Path) -> list[Path]:
    """Write the figures and the picture of the confusion matrix; return where they are."""
    assessment, info = evaluation.assessment, evaluation.info
    title = f"{_label(evaluation)} on {info.name} {evaluation.split}"
    picture = confusion_png(assessment.confusion_KK.numpy(), info.classes.names, title)
    folder = open_folder(str(output))
    write_bytes(folder, _FIGURE, picture)
    write_bytes(folder, _JSON, (json.dumps(as_json(evaluation), indent=2) + "\n").encode())
    return [output / _JSON, output / _FIGURE]


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return all figures; what is not defined, such as the IoU of an absent class, is null."""
    network, info, assessment = evaluation.network, evaluation.info, evaluation.assessment
    per_class = zip(
        info.classes.names,
        assessment.class_iou,
        assessment.class_boundary_f1,
        assessment.confusion_KK.sum(dim=1).tolist(),
        strict=True,
    )
    return {
        "network": network.reference,
        "weights_sha256": network.digest,
        "architecture": network.segmenter.deployment.architecture.to_dict(),
        "num_params": network.num_params,
        "macs": _macs(evaluation),
        "dataset": info.name,
        "fingerprint": info.fingerprint,
        "split": evaluation.split,
        "num_pictures": assessment.num_pictures,
        "mean_iou": _number(assessment.mean_iou),
        "pixel_accuracy": _number(assessment.pixel_accuracy),
        "boundary_f1": _number(assessment.mean_boundary_f1),
        "boundary_tolerance_of_diagonal": BOUNDARY_TOLERANCE,
        "classes": {
            name: {"iou": _number(iou), "boundary_f1": _number(f1), "pixels": pixels}
            for name, iou, f1, pixels in per_class
        },
        "confusion": assessment.confusion_KK.tolist(),
        "speed": asdict(evaluation.speed),
    }


def as_text(evaluation: Evaluation) -> str:
    """Return all figures as lines, the confusion matrix last."""
    network, info, assessment = evaluation.network, evaluation.info, evaluation.assessment
    pixels = boundary_tolerance(*info.image_size)
    lines = [
        f"{_label(evaluation)}: {network.num_params:,} parameters, "
        f"{_macs(evaluation) / 1e6:,.1f} M multiply-accumulates",
        f"{info.name} {evaluation.split}, {assessment.num_pictures} pictures",
        f"  mean IoU        {_percent(assessment.mean_iou)} %",
        f"  pixel accuracy  {_percent(assessment.pixel_accuracy)} %",
        f"  boundary F1     {_percent(assessment.mean_boundary_f1)} %  (Csurka et al. 2013, within "
        f"{BOUNDARY_TOLERANCE:.2%} of the diagonal: {pixels:.1f} pixels)",
        *_class_lines(evaluation),
        "confusion, % of each class's pixels: rows the truth, columns the prediction",
        *_confusion_lines(evaluation),
        *speed_lines(evaluation.speed),
    ]
    return "\n".join(lines)


def speed_lines(speed: Footprint) -> list[str]:
    """Return latency and memory, with all that they depend on."""
    median, fast, slow = (
        f"{seconds * 1e3:.1f}"
        for seconds in (speed.timing.median_s, speed.timing.fast_s, speed.timing.slow_s)
    )
    return [
        f"one picture of {speed.height}x{speed.width}, warm, on {speed.processor}, "
        f"{speed.threads} threads (OMP_NUM_THREADS sets them), {speed.timing.runs} runs",
        f"  latency         {median} ms median, {fast} to {slow} ms the middle 80 %",
        f"  peak memory     {speed.peak_bytes / 2**20:.0f} MiB resident, "
        f"{speed.loaded_bytes / 2**20:.0f} MiB of it before the first picture",
    ]


def _class_lines(evaluation: Evaluation) -> list[str]:
    assessment, names = evaluation.assessment, evaluation.info.classes.names
    width = max(map(len, names))
    rows = zip(names, assessment.class_iou, assessment.class_boundary_f1, strict=True)
    return [
        f"  {'class':<{width}}   IoU %   boundary F1 %",
        *(f"  {name:<{width}}  {_percent(iou)}          {_percent(f1)}" for name, iou, f1 in rows),
    ]


def _confusion_lines(evaluation: Evaluation) -> list[str]:
    names = evaluation.info.classes.names
    width = max(map(len, names))
    shares = row_shares(evaluation.assessment.confusion_KK.numpy())
    head = "".join(f"{k:>5}" for k in range(len(names)))
    return [
        f"     {'':<{width}}{head}",
        *(
            f"  {k:>2} {name:<{width}}" + "".join(f"{_whole(share):>5}" for share in row)
            for k, (name, row) in enumerate(zip(names, shares.tolist(), strict=True))
        ),
    ]


def _label(evaluation: Evaluation) -> str:
    return evaluation.network.segmenter.deployment.architecture.label


def _macs(evaluation: Evaluation) -> int:
    return count_built_macs(evaluation.network.segmenter.model, *evaluation.info.image_size)


def _percent(share: float) -> str:
    return "    -" if math.isnan(share) else f"{share * 100:5.2f}"


def _whole(share: float) -> str:
    return "-" if math.isnan(share) else f"{share * 100:.0f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
