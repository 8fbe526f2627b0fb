"""`python -m pipeline.preprocess`: a labelled data set into shards on S3 or in a folder."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli import run_command
from pipeline.core.units import parse_size


@dataclass(frozen=True)
class PreprocessOptions:
    """Turn a labelled data set into WebDataset shards with a manifest."""

    dataset: str = "streets"
    """Kind of source: streets (generated, needs no files), camvid, cityscapes or folder."""
    source: Path | None = None
    """Folder that holds the images and labels."""
    image_size: str | None = None
    """HEIGHTxWIDTH to resize to, such as 120x160; else the pictures stay as they are."""
    output: str | None = None
    """Where to write: s3://bucket/prefix or a folder; else datasets/NAME in the store."""
    store: str = "s3://cgnet"
    """Where data sets and studies are kept: s3://bucket[/prefix] or a folder."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services and logs."""


def preprocess(options: PreprocessOptions) -> int:
    """Make the data set; print where it is and how to search on it."""
    size = parse_size(options.image_size) if options.image_size else None
    # numpy and Pillow: not needed for --help
    from pipeline.sources.registry import SourceRequest, open_source

    source = open_source(SourceRequest(options.dataset, options.source))
    source.keys()  # a wrong folder is told before any service is started

    # Torch and Ray only now, when the words are known to be right.
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.runtime import console, datasets

    console.log_to_file(options.state_dir / "logs" / "preprocess.log")
    name = datasets.dataset_name(source, size)
    uri = options.output or datasets.dataset_uri(name, options.store)
    datasets.reach(uri, options.state_dir)
    info = datasets.make_dataset(source, uri, size)
    counts = ", ".join(f"{count} {split}" for split, count in info.num_samples.items())
    height, width = info.image_size
    sys.stdout.write(
        f"{uri}: {counts} samples of {height}x{width}, {info.classes.num_classes} classes\n"
        f"next: python -m pipeline.search --budget 0.5M --dataset {options.output or name}\n"
    )
    return 0


def main() -> int:
    """Run the command."""
    return run_command("preprocess", PreprocessOptions, preprocess)


if __name__ == "__main__":
    raise SystemExit(main())
