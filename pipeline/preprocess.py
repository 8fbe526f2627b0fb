"""`python -m pipeline.preprocess`: a labelled data set into shards on S3 or in a folder."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.cli import run_command
from pipeline.core.errors import UsageError
from pipeline.core.layout import Layout
from pipeline.core.manifest import DatasetInfo
from pipeline.core.units import parse_shard_size, parse_size


@dataclass(frozen=True)
class PreprocessOptions:
    """Make WebDataset shards with a manifest of a labelled data set; check them; take others in."""

    dataset: str = "streets"
    """Kind of source: streets (generated, needs no files), camvid, cityscapes or folder."""
    source: Path | None = None
    """Folder that holds the images and labels."""
    classes: Path | None = None
    """TOML file of the classes, for --dataset folder and --index."""
    val_fraction: float | None = None
    """Share of the images kept for validation, for a folder without splits."""
    image_size: str | None = None
    """HEIGHTxWIDTH to resize to, such as 120x160; else the pictures stay as they are."""
    encoding: Literal["png", "jpeg", "webp"] = "png"
    """Of the pictures in the shards; png loses nothing. Labels are always png."""
    quality: int | None = None
    """1 to 100, of jpeg and webp; 90 unless given."""
    shard_size: str = "64"
    """The most in one shard: samples, such as 64, or about so many bytes, such as 32MB."""
    output: str | None = None
    """Where to write: s3://bucket/prefix or a folder; else datasets/NAME in the store."""
    dry_run: bool = False
    """Say what would be written, and write nothing."""
    verify: str | None = None
    """Instead, read every sample of the data set at this URI and tell what is wrong with it."""
    index: str | None = None
    """Instead, make the WebDataset tars at this URI a data set where they are."""
    store: str = "s3://cgnet"
    """Where data sets and studies are kept: s3://bucket[/prefix] or a folder."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services and logs."""


def preprocess(options: PreprocessOptions) -> int:
    """Do the one of the three that is asked for."""
    if options.verify and options.index:
        raise UsageError("--verify and --index are two things: ask for one of them")
    if options.verify:
        return _verify(options.verify, options)
    if options.index:
        return _index(options.index, options)
    return _make(options)


def _make(options: PreprocessOptions) -> int:
    """Make the data set, or say what would be made; print where it is and how to search on it."""
    layout = Layout(
        image_size=parse_size(options.image_size) if options.image_size else None,
        encoding=options.encoding,
        quality=options.quality,
        shard_size=parse_shard_size(options.shard_size),
    )
    # numpy and Pillow: not needed for --help
    from pipeline.sources.registry import SourceRequest, open_source

    source = open_source(
        SourceRequest(options.dataset, options.source, options.classes, options.val_fraction)
    )
    source.keys()  # a wrong folder is told before any service is started

    _configure(options)
    from pipeline.runtime import datasets
    from pipeline.runtime.sharding import plan_dataset
    from pipeline.runtime.storage import absolute_uri

    name = datasets.dataset_name(source, layout.image_size)
    uri = absolute_uri(options.output or datasets.dataset_uri(name, options.store))
    datasets.reach(uri, options.state_dir, create=not options.dry_run)
    if options.dry_run:
        sys.stdout.write(f"{plan_dataset(source, name, uri, layout).describe(uri)}\n")
        return 0
    info = datasets.make_dataset(source, uri, layout)
    is_named = not options.output and options.store == PreprocessOptions.store
    return _made(uri, name if is_named else uri, info)


def _index(uri: str, options: PreprocessOptions) -> int:
    """Take in the tars that others wrote."""
    if options.classes is None:
        raise UsageError("--index needs --classes FILE, a TOML file of what the labels mean")
    from pipeline.sources.classes import read_classes

    classes = read_classes(options.classes)
    _configure(options)
    from pipeline.runtime import datasets

    uri = datasets.dataset_uri(uri, options.store)
    datasets.reach(uri, options.state_dir, create=False)
    return _made(uri, uri, datasets.index_tars(uri, classes))


def _verify(uri: str, options: PreprocessOptions) -> int:
    """Check a data set; print one line if all is well, else what is wrong."""
    _configure(options)
    from pipeline.runtime import datasets

    uri = datasets.dataset_uri(uri, options.store)
    datasets.reach(uri, options.state_dir, create=False)
    verdict = datasets.check_dataset(uri)
    if not verdict.num_wrong:
        sys.stdout.write(
            f"{uri}: {_counts(verdict.info)} in {verdict.num_shards} shards, all well\n"
        )
        return 0
    sys.stdout.write(f"{uri}: damaged, findings: {verdict.num_wrong}\n")
    sys.stdout.writelines(f"  {line}\n" for line in verdict.told)
    return 1


def _configure(options: PreprocessOptions) -> None:
    """Prepare for the imports of torch and Ray, which come when the words are known to be right."""
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.runtime import console

    console.log_to_file(options.state_dir / "logs" / "preprocess.log")


def _made(uri: str, name: str, info: DatasetInfo) -> int:
    sys.stdout.write(
        f"{uri}: {_counts(info)}\nnext: python -m pipeline.search --budget 0.5M --dataset {name}\n"
    )
    return 0


def _counts(info: DatasetInfo) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in info.num_samples.items())
    height, width = info.image_size
    return f"{counts} samples of {height}x{width}, {info.classes.num_classes} classes"


def main() -> int:
    """Run the command."""
    return run_command("preprocess", PreprocessOptions, preprocess)


if __name__ == "__main__":
    raise SystemExit(main())
