"""Images a second of preprocessing against bare read, decode and encode of the same images.

    python -m benchmarks.preprocess_rate CAMVID [--repeats 2] [--times 4]

CAMVID is the folder of the SegNet tutorial; each of its pictures is there so many times, under
other names: a second of starting and ending is to count for little. The limit is plain processes
that read the same files, decode and encode them with the same codec, and do nothing else: no
checks, storage, hashes, statistics or shards. libpng's limit encodes with libpng, as fast as it can
be told to. The limits into a folder and onto S3 also keep what they encoded there, as many pictures
in a file as we have in a shard. Ours is what ``python -m pipeline.preprocess`` does from the moment
its cluster is up, into a folder and to a local S3, which works on the same cores. They take turns,
each with memory at hand.
"""

import argparse
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import imagecodecs

from benchmarks import camvid
from benchmarks.memory import use_memory
from benchmarks.report import print_setting, print_table, say
from pipeline.runtime.storage import open_folder, s3_client
from pipeline.sources import png
from pipeline.sources.registry import SourceRequest, open_source
from pipeline.sources.source import Source

WORKERS = (1, 2)
SPLITS = ("train", "val")
LIBPNG_LIMIT = "libpng's limit: read, decode, encode"
LIMIT = "limit: the same with our codec"
FOLDER_LIMIT = "limit into a folder: and written"
S3_LIMIT = "limit onto S3: and put"
LIMITS = (LIBPNG_LIMIT, LIMIT, FOLDER_LIMIT, S3_LIMIT)
OURS = {
    "into a folder, new workers": FOLDER_LIMIT,
    "into a folder": FOLDER_LIMIT,
    "onto S3": S3_LIMIT,
}
SUBJECTS = (*LIMITS, *OURS)
FILES_PER_OBJECT = 2 * 64  # pictures and labels
SCRATCH = "preprocess-rate"  # the folder on S3, gone at the end


def recode_by_libpng(files: Sequence[Path]) -> None:
    """Read and decode pictures, encode them by libpng, and keep nothing."""
    codec = imagecodecs.PNG
    for file in files:
        pixels = imagecodecs.png_decode(file.read_bytes())
        imagecodecs.png_encode(
            pixels, level=1, filter=codec.FILTER.FAST, strategy=codec.STRATEGY.RLE
        )


def recode_all(files: Sequence[Path]) -> list[bytes]:
    """Read and decode pictures, and encode them as we do."""
    return [png.encode(png.decode(file.read_bytes())) for file in files]


def recode(files: Sequence[Path]) -> None:
    """Do that, and keep nothing."""
    for file in files:
        recode_all([file])


def recode_and_write(folder: str, files: Sequence[Path]) -> None:
    """Do that and write them into a folder."""
    for first in range(0, len(files), FILES_PER_OBJECT):
        with Path(folder, uuid.uuid4().hex).open("wb") as stream:
            for file in files[first : first + FILES_PER_OBJECT]:
                stream.writelines(recode_all([file]))


def recode_and_put(files: Sequence[Path]) -> None:
    """Do that and put them onto S3."""
    client = s3_client()
    for first in range(0, len(files), FILES_PER_OBJECT):
        content = b"".join(recode_all(files[first : first + FILES_PER_OBJECT]))
        client.put_object(Bucket="cgnet", Key=f"{SCRATCH}/{uuid.uuid4().hex}", Body=content)


@dataclass(frozen=True)
class Run:
    """Images a second, and processor time for each."""

    rate: float
    cpu_ms: float


@contextmanager
def timed(num_images: int, runs: list[Run]) -> Iterator[None]:
    """Add what the block took to ``runs``."""
    from benchmarks.preprocessing import cpu_seconds

    use_memory()
    began, cpu_before = time.perf_counter(), cpu_seconds()
    yield
    cpu_ms = (cpu_seconds() - cpu_before) / num_images * 1e3
    runs.append(Run(num_images / (time.perf_counter() - began), cpu_ms))


@contextmanager
def many_times(camvid: Path, times: int) -> Iterator[Path]:
    """Make a folder like CamVid's that has each of its pictures so many times."""
    with TemporaryDirectory() as folder:
        for split in SPLITS:
            for part in (split, f"{split}annot"):
                there = Path(folder, part)
                there.mkdir()
                for file, copy in product((camvid / part).glob("*.png"), range(times)):
                    (there / f"{copy}_{file.name}").symlink_to(file.resolve())
        yield Path(folder)


def run_limits(folder: Path, workers: int, runs: Sequence[list[Run]]) -> None:
    """Read and encode in plain processes, and twice more with keeping."""
    images = sorted(file for split in SPLITS for file in (folder / split).glob("*.png"))
    pairs = [(image, folder / f"{image.parent.name}annot" / image.name) for image in images]
    shares = [list(chain(*pairs[first::workers])) for first in range(workers)]
    with (
        TemporaryDirectory() as written,
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,
    ):
        works = (recode_by_libpng, recode, partial(recode_and_write, written), recode_and_put)
        for work, found in zip(works, runs, strict=True):
            list(pool.map(work, [share[:4] for share in shares]))  # imports are not counted
            with timed(len(pairs), found):
                list(pool.map(work, shares))


def run_ours(source: Source, workers: int, runs: Sequence[list[Run]]) -> None:
    """Preprocess in a new cluster, and twice more when its workers are there."""
    from benchmarks.preprocessing import local_cluster, preprocess  # Ray, when all is set for it

    num_images = sum(map(len, source.keys().values()))
    with TemporaryDirectory() as folder, local_cluster(workers):
        places = (f"{folder}/new", f"{folder}/there", f"s3://cgnet/{SCRATCH}/{uuid.uuid4().hex}")
        for place, found in zip(places, runs, strict=True):
            with timed(num_images, found):
                preprocess(source, place)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path, help="the folder of the SegNet tutorial")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--times", type=int, default=4, help="that each picture is there")
    options = parser.parse_args()
    camvid.prepare(options.camvid)
    runs: dict[tuple[str, int], list[Run]] = {(n, w): [] for w in WORKERS for n in SUBJECTS}
    with many_times(options.camvid, options.times) as folder:
        source = open_source(SourceRequest("camvid", folder))
        for _, workers in product(range(options.repeats), WORKERS):
            found = [runs[name, workers] for name in SUBJECTS]
            run_limits(folder, workers, found[: len(LIMITS)])
            run_ours(source, workers, found[len(LIMITS) :])
            open_folder("s3://cgnet").delete_dir(SCRATCH)
            say(f"{workers}: {', '.join(f'{run[-1].rate:.1f}' for run in found)}")
    rates = {subject: statistics.median(r.rate for r in found) for subject, found in runs.items()}
    rows = [
        [
            name,
            str(workers),
            f"{rates[name, workers]:.1f}",
            *(
                f"{rates[name, workers] / rates[limit, workers]:.2f}"
                for limit in (LIBPNG_LIMIT, LIMIT, OURS.get(name, name))
            ),
            f"{rates[name, workers] / rates[name, WORKERS[0]]:.2f}",
            f"{statistics.median(run.cpu_ms for run in found):.0f}",
        ]
        for (name, workers), found in runs.items()
    ]
    print_setting(f"CamVid {options.times} times, 360x480; medians of {options.repeats} runs.")
    header = (
        "",
        "workers",
        "images/s",
        "of libpng's limit",
        "of the limit",
        "of that into the same place",
        "of one worker",
        "CPU ms an image",
    )
    print_table(header, rows)


if __name__ == "__main__":
    main()
