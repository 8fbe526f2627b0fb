"""The rivals of our loader, each as its documentation sets it up; of this project only a decoder.

    python loader_rivals.py prepare JOB    # the rivals' own formats, from the same PNG bytes
    python loader_rivals.py measure JOB    # one fresh process, one loader, some epochs

JOB is the JSON of a ``Job``. Answers one line of JSON. All decode into uint8, with Pillow as their
documentation does unless they say otherwise, one thread a worker, and stack (B, H, W, 3), which is
what our loader's batches are in memory.
"""

import io
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
import imagecodecs
import numpy as np
import torch
import webdataset
from PIL import Image

from pipeline.learning import bare_png
from pipeline.sources import png

SAMPLES_PER_SHARD = 64
SHUFFLE_BUFFER = 1000

Pair = tuple[torch.Tensor, torch.Tensor]
Decode = Callable[[bytes], torch.Tensor]


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        rival: a key of ``RIVALS``.
        shards: the project's own shards, ``s3://`` each.
        remote: where the rivals' formats lie, ``s3://``.
        cache: an empty folder on disk.
        workers: loader processes.
        epochs: how many to pass over.
        batch_size: samples in a batch.
    """

    shards: Sequence[str]
    remote: str
    rival: str = ""
    cache: str = ""
    workers: int = 1
    epochs: int = 1
    batch_size: int = 8


@cache
def s3() -> Any:
    """Return a client; one for each process, as boto3 asks for."""
    return boto3.Session().client("s3")


def place(url: str) -> tuple[str, str]:
    """Return (bucket, key)."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def open_s3(url: str, *_: object, **__: object) -> io.BytesIO:
    """Open an object for webdataset: read whole, which was faster than its stream."""
    bucket, key = place(url)
    return io.BytesIO(s3().get_object(Bucket=bucket, Key=key)["Body"].read())


webdataset.gopen_schemes["s3"] = open_s3


def rgb(content: bytes) -> torch.Tensor:
    """Decode a picture to (H, W, 3)."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content))))


grey = rgb  # a label is (H, W) by its own mode


def sample_pairs(job: Job) -> Iterator[tuple[bytes, bytes]]:
    """Yield image and label as they are in the project's shards."""
    for sample in webdataset.WebDataset(list(job.shards), shardshuffle=False):
        yield sample["image.png"], sample["label.png"]


def upload(folder: Path, remote: str) -> None:
    """Put a folder's files on S3."""
    bucket, prefix = place(remote)
    client = s3()
    for file in folder.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder)}")


def torch_loader(dataset: Any, job: Job, **options: Any) -> torch.utils.data.DataLoader:
    """Return torch's loader with workers that live on between epochs."""
    return torch.utils.data.DataLoader(
        dataset, num_workers=job.workers, persistent_workers=True, **options
    )


def webdataset_documented(job: Job) -> Iterable[Pair]:
    """The README's chain: shuffle, decode, to_tuple, batched, read by torch's loader."""
    dataset = (
        webdataset.WebDataset(list(job.shards), shardshuffle=100)
        .shuffle(SHUFFLE_BUFFER)
        .decode("rgb8")
        .to_tuple("image.png", "label.png")
        .batched(job.batch_size)
    )
    return webdataset.WebLoader(dataset, batch_size=None, num_workers=job.workers)


def libpng(content: bytes) -> torch.Tensor:
    """Decode a PNG with libpng, by way of imagecodecs."""
    return torch.from_numpy(imagecodecs.png_decode(content))


def ours(content: bytes) -> torch.Tensor:
    """Decode a PNG as our loader does."""
    shape = png.bare_shape(content)
    assert shape
    return torch.from_numpy(bare_png.decode(content, shape))


def webdataset_tuned(job: Job, decode: Decode = rgb) -> Iterable[Pair]:
    """The same with labels decoded as they are, shards kept on disk, and living workers."""
    dataset = (
        webdataset.WebDataset(list(job.shards), shardshuffle=100, cache_dir=job.cache)
        .shuffle(SHUFFLE_BUFFER)
        .to_tuple("image.png", "label.png")
        .map_tuple(decode, decode)
        .batched(job.batch_size)
    )
    return webdataset.WebLoader(
        dataset, batch_size=None, num_workers=job.workers, persistent_workers=True
    )


@cache
def torchvision_operators() -> torch.library.Library:
    """Declare the operators without which torchvision will not be imported.

    Torchvision from PyPI brings them for a CUDA torch only. MosaicML's library imports it, for
    data sets that are not used here.
    """
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return operators


def mosaicml() -> Any:
    """Return MosaicML's library."""
    if torch.version.cuda is None:
        torchvision_operators()
    import streaming

    return streaming


def prepare_streaming(job: Job) -> None:
    """Write MDS shards, as large as the project's."""
    streaming = mosaicml()
    pairs = list(sample_pairs(job))
    size_limit = sum(len(image) + len(label) for image, label in pairs) * SAMPLES_PER_SHARD
    with tempfile.TemporaryDirectory() as folder:
        columns = {"image": "bytes", "label": "bytes"}
        limit = size_limit // len(pairs)
        with streaming.MDSWriter(out=folder, columns=columns, size_limit=limit) as writer:
            for image, label in pairs:
                writer.write({"image": image, "label": label})
        upload(Path(folder), f"{job.remote}/mds")


def mosaicml_streaming(job: Job) -> Iterable[Pair]:
    """StreamingDataset with its default shuffle and a local cache, read by torch's loader."""
    streaming = mosaicml()

    class Pictures(streaming.StreamingDataset):
        def __getitem__(self, index: int) -> Pair:
            sample = super().__getitem__(index)
            return rgb(sample["image"]), grey(sample["label"])

    dataset = Pictures(
        remote=f"{job.remote}/mds",
        local=f"{job.cache}/mds",
        batch_size=job.batch_size,
        shuffle=True,
        predownload=SHUFFLE_BUFFER,
    )
    return torch_loader(dataset, job, batch_size=job.batch_size)


def prepare_litdata(job: Job) -> None:
    """Write litdata chunks, as large as the project's shards."""
    from litdata.streaming.cache import Cache

    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(folder, chunk_size=SAMPLES_PER_SHARD)
        for index, (image, label) in enumerate(sample_pairs(job)):
            cache[index] = {"image": image, "label": label}
        cache.done()
        cache.merge()
        upload(Path(folder), f"{job.remote}/litdata")


def lit_pair(sample: dict[str, bytes]) -> Pair:
    """Decode a sample of litdata."""
    return rgb(sample["image"]), grey(sample["label"])


def litdata_streaming(job: Job) -> Iterable[Pair]:
    """StreamingDataset and StreamingDataLoader with shuffle and a local cache."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import downloader

    # Its fast client refuses an endpoint without TLS, and it has no option for that.
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
    dataset = StreamingDataset(
        f"{job.remote}/litdata",
        cache_dir=f"{job.cache}/litdata",
        shuffle=True,
        max_cache_size="25GB",
        max_pre_download=8,
        storage_options={"endpoint_url": os.environ["AWS_ENDPOINT_URL"]},
        transform=lit_pair,
    )
    return StreamingDataLoader(
        dataset, batch_size=job.batch_size, num_workers=job.workers, persistent_workers=True
    )


RIVALS: dict[str, Callable[[Job], Iterable[Pair]]] = {
    "webdataset, as documented": webdataset_documented,
    "webdataset, tuned": webdataset_tuned,
    "webdataset, tuned, libpng": partial(webdataset_tuned, decode=libpng),
    "webdataset, tuned, our decoder": partial(webdataset_tuned, decode=ours),
    "mosaicml-streaming": mosaicml_streaming,
    "litdata": litdata_streaming,
}


def measure(job: Job) -> dict[str, Any]:
    """Return what each epoch took, the first from before the loader is made."""
    import_rival(job.rival)
    cpu_before = cpu_seconds()
    began = time.perf_counter()
    loader = RIVALS[job.rival](job)
    epochs = []
    for _ in range(job.epochs):
        num_samples = 0
        for image, label in loader:
            image_BCHW = torch.as_tensor(image).permute(0, 3, 1, 2)
            assert image_BCHW.dtype is torch.uint8, image_BCHW.dtype
            num_samples += len(label)
        ended = time.perf_counter()
        epochs.append({"samples": num_samples, "seconds": ended - began})
        began = ended
    return {"epochs": epochs, "cpu_s": cpu_seconds() - cpu_before}


def import_rival(name: str) -> None:
    """Import what a loader would import first: no loader is timed with its imports."""
    if name == "mosaicml-streaming":
        mosaicml()
    elif name == "litdata":
        __import__("litdata")
    elif name == "webdataset, tuned, our decoder":
        import_ours()


def import_ours() -> None:
    """Do so for our decoder, which imports a compiler with the first picture."""
    ours(png.encode(np.zeros((1, 1), dtype=np.uint8)))


def cpu_seconds() -> float:
    """Return the processor time of this process and its workers, living and ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ticks = 0
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, see proc(5)
    own = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return own + ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Do what the words say."""
    torch.set_num_threads(1)
    job = Job(**json.loads(sys.argv[2]))
    answer: dict[str, Any] = {}
    if sys.argv[1] == "prepare":
        prepare_streaming(job)
        prepare_litdata(job)
    else:
        answer = measure(job)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
