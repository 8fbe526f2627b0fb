"""WebDataset tars as others wrote them into a data set: where they lie, by a manifest for them."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Protocol

from pyarrow.fs import FileInfo, FileSelector, FileType

from pipeline.core.errors import DataError
from pipeline.core.layout import LAYOUT_VERSION, short_hash
from pipeline.core.manifest import ClassTable, DatasetInfo, SampleRecord
from pipeline.learning.folder import Folder, folder_uri
from pipeline.learning.records import records_table
from pipeline.runtime.pairs import Pair, read_pairs
from pipeline.runtime.parts import Part
from pipeline.runtime.pictures import ChannelSums, count_classes, decode_image, decode_label
from pipeline.runtime.publishing import Generation, Progress, publish, tidy
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import Run, on_cluster
from pipeline.sources.classes import MaskClasses

_SPLITS = ("train", "val", "test")
_TAR = re.compile(rf"({'|'.join(_SPLITS)})[-/][^/]+\.tar")
_BUFFER_BYTES = 1 << 20


class OfSplit(Protocol):
    """A shard, as far as its samples' records need it."""

    @property
    def path(self) -> str:
        """Where it is, below the data set's folder."""
        ...

    @property
    def split(self) -> str:
        """Which split its samples belong to."""
        ...


@dataclass(frozen=True)
class TarShard:
    """A tar that is there already."""

    path: str
    split: str
    work: int = 1


def index_dataset(
    uri: str,
    name: str,
    classes: ClassTable,
    progress: Progress = lambda done, total: None,
    run: Run = on_cluster,
) -> DatasetInfo:
    """Write a manifest and ``dataset.json`` for the tars in a folder; the tars stay as they are.

    Args:
        uri: holds ``<split>-*.tar`` or ``<split>/*.tar``; split is train, val or test.
        name: of the data set.
        classes: what the values of the label maps mean.
        progress: told after each tar: tars done and in all.
        run: where the tars are read.

    Raises:
        DataError: there are no such tars, or one cannot be taken in; names tar and sample.
    """
    files = _find_tars(open_folder(uri, create=False))
    shards = [TarShard(file.path, _split(file.path)) for file in files]
    seen = [(file.path, file.size, file.mtime_ns) for file in files]
    identity = short_hash(json.dumps([LAYOUT_VERSION, name, seen, asdict(classes)]))
    generation = Generation(uri, name, identity, classes)
    if info := generation.published:
        tidy(generation)
        return info
    task = partial(index_tar, uri, classes)
    return publish(generation, lambda: shards, task, run, progress)


def ids_as_stored(classes: MaskClasses) -> ClassTable:
    """Return the classes of label maps that are read as they are.

    Raises:
        DataError: the maps' values are other ones than the class ids.
    """
    if classes.values != tuple(range(classes.table.num_classes)) or (
        classes.ignore != classes.table.ignore_index
    ):
        raise DataError(
            f"the classes of {classes.name} have ids {classes.values} and {classes.ignore} to "
            "ignore, wanted 0, 1, 2, ... and one above: tars are taken in as they are, so map "
            "their labels first, or preprocess them as --dataset folder"
        )
    return classes.table


def index_tar(uri: str, classes: ClassTable, shard: TarShard) -> Part:
    """Return the part of one tar.

    Raises:
        DataError: a sample cannot be taken in.
    """
    folder = open_folder(uri, create=False)
    records, channels, encodings = [], ChannelSums(), set()
    with folder.open_input_stream(shard.path, buffer_size=_BUFFER_BYTES) as stream:
        for pair in read_pairs(stream, shard.path):
            record, sums, encoding = index_pair(pair, shard, classes)
            records.append(record)
            channels += sums
            encodings.add(encoding)
    if len(encodings) != 1:
        found = " and ".join(sorted(encodings)) or "no samples"
        raise DataError(f"{shard.path} holds {found}, wanted pictures of one encoding")
    return Part(records_table(records), channels, encodings.pop())


def index_pair(
    pair: Pair, shard: OfSplit, classes: ClassTable
) -> tuple[SampleRecord, ChannelSums, str]:
    """Return the record of a sample, the sums over its picture, and the picture's encoding.

    Raises:
        DataError: picture or label cannot be decoded, or they do not go together.
    """
    where = f"{shard.path}: {pair.image.name}"
    image_HWC, encoding = decode_image(pair.image.content, where)
    where = f"{shard.path}: {pair.label.name}"
    label_HW = decode_label(pair.label.content, where)
    height, width, _ = image_HWC.shape
    if label_HW.shape != (height, width):
        label_height, label_width = label_HW.shape
        raise DataError(
            f"{where} is {label_height}x{label_width}, its picture {height}x{width}: "
            "both must have one size"
        )
    digest = hashlib.sha256(pair.image.content)
    digest.update(pair.label.content)
    record = SampleRecord(
        key=pair.key,
        split=shard.split,
        shard=shard.path,
        image_offset=pair.image.offset,
        image_bytes=len(pair.image.content),
        label_offset=pair.label.offset,
        label_bytes=len(pair.label.content),
        height=height,
        width=width,
        class_pixels=count_classes(label_HW, classes, where),
        sha256=digest.hexdigest(),
    )
    return record, ChannelSums.of(image_HWC), encoding


def _find_tars(folder: Folder) -> list[FileInfo]:
    """Return the tars by split, then by name."""
    listings = (
        folder.get_file_info(FileSelector(below, allow_not_found=True)) for below in ("", *_SPLITS)
    )
    tars = [
        info
        for info in chain.from_iterable(listings)
        if info.type == FileType.File and _TAR.fullmatch(info.path)
    ]
    if not tars:
        raise DataError(
            f"{folder_uri(folder)} holds no tars named train-*.tar or train/*.tar (or val, test): "
            "rename them so"
        )
    return sorted(tars, key=lambda info: (_SPLITS.index(_split(info.path)), info.path))


def _split(path: str) -> str:
    match = _TAR.fullmatch(path)
    return match[1] if match else ""
