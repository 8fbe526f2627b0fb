"""`python -m pipeline.evaluate`: all figures of one network on one split, and its speed here."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli import run_command

_TELL_EVERY_S = 5.0


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure a network: IoU, pixel accuracy, contours, confusion, latency and memory."""

    network: tyro.conf.Positional[str]
    """MLflow run id (a study's means its champion), models:/NAME@champion, a folder or
    .safetensors file (a path or s3://), or the authors' .pth."""
    dataset: str = "streets"
    """Name of a data set in the store, or the URI of one; streets is made if it is not there."""
    split: str = "val"
    """Which of its splits."""
    official_preprocessing: bool = False
    """For the authors' .pth: take the means off as their code does, blue's from red and red's
    from blue; their published weights were trained so."""
    output: Path | None = None
    """Folder for evaluation.json and confusion.png; else one in the state folder."""
    store: str = "s3://cgnet"
    """Where data sets are kept: s3://bucket[/prefix] or a folder."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services and logs."""


def evaluate(options: EvaluateOptions) -> int:
    """Evaluate; print every figure and where the confusion matrix is drawn."""
    # Torch only now, when the words are known to be right.
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.learning.assessment import assess, check_classes
    from pipeline.learning.latency import footprint
    from pipeline.runtime import console, datasets
    from pipeline.runtime.evaluation_report import Evaluation, as_text, write_files
    from pipeline.runtime.networks import open_network
    from pipeline.runtime.s3_shards import open_stored

    console.log_to_file(options.state_dir / "logs" / "evaluate.log")
    network = open_network(
        options.network, options.state_dir, official_preprocessing=options.official_preprocessing
    )
    data, info = datasets.open_or_make(options.dataset, options.store, options.state_dir)
    check_classes(network.segmenter, info.classes)
    dataset = open_stored(data.uri, data)
    split = dataset.split(options.split, cache="none")  # each picture is read once
    speed = footprint(network.weights, *info.image_size)
    progress = _progress(console.say, time.monotonic)
    assessment = assess(network.segmenter, split, info.classes, progress)
    evaluation = Evaluation(network, info, options.split, assessment, speed)
    name = f"{network.digest[:10]}-{info.name}-{options.split}"
    output = options.output or options.state_dir / "evaluations" / name
    sys.stdout.write(f"{as_text(evaluation)}\n")  # first: a folder that is wrong costs no figure
    written = write_files(evaluation, output)
    sys.stdout.write("".join(f"written: {path}\n" for path in written))
    return 0


def _progress(say: Callable[[str], None], clock: Callable[[], float]) -> Callable[[int, int], None]:
    """Return what tells of pictures done, a line every few seconds."""
    told = clock()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if clock() - told > _TELL_EVERY_S:
            told = clock()
            say(f"{done}/{total} pictures")

    return progress


def main() -> int:
    """Run the command."""
    return run_command("evaluate", EvaluateOptions, evaluate)


if __name__ == "__main__":
    raise SystemExit(main())
