"""The test split: scored by the champion alone, and once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig
from pipeline.core.layout import Layout
from pipeline.core.manifest import ClassTable, DatasetInfo
from pipeline.learning.assessment import assess
from pipeline.learning.cgnet import CGNet
from pipeline.learning.dataset import open_dataset
from pipeline.learning.weights import Deployment, pack_weights
from pipeline.runtime.confirmations import Confirmations
from pipeline.runtime.held_out import held_out_score
from pipeline.runtime.networks import Network, network_of
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import in_process
from pipeline.sources.source import LabelledImage, Source

Squares = Callable[..., Source]


@dataclass(frozen=True)
class WithTest:
    """A source whose last training pictures are a test split."""

    source: Source
    num_test: int

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def classes(self) -> ClassTable:
        return self.source.classes

    def keys(self) -> Mapping[str, Sequence[str]]:
        keys = {split: list(keys) for split, keys in self.source.keys().items()}
        return keys | {"test": [keys["train"].pop() for _ in range(self.num_test)]}

    def fingerprint(self) -> str:
        return f"{self.source.fingerprint()} {self.num_test}"

    def read(self, split: str, key: str) -> LabelledImage:
        return self.source.read("train" if split == "test" else split, key)


def written(source: Source, folder: Path) -> tuple[DataConfig, DatasetInfo]:
    info = shard_dataset(source, source.name, str(folder), Layout(), run=in_process)
    return DataConfig(str(folder), info.fingerprint), info


def network(info: DatasetInfo) -> Network:
    torch.manual_seed(0)
    architecture = Architecture(2, num_blocks_2=1, num_blocks_3=1, widths=(4, 8, 16), reduction_3=8)
    classes = info.classes
    deployment = Deployment(architecture, info.mean, info.std, classes.names, classes.palette)
    return network_of(pack_weights(CGNet(architecture), deployment), "net")


def test_a_champion_is_scored_on_test_once_and_the_study_remembers(
    squares: Squares, tmp_path: Path
) -> None:
    storage = optuna.storages.InMemoryStorage()
    data, info = written(WithTest(squares(num_train=5), 2), tmp_path / "data")
    champion = network(info)
    score = held_out_score(champion, data, info, Confirmations(storage, "s"))
    split = open_dataset(open_folder(data.uri)).split("test")
    expected = assess(champion.segmenter, split, info.classes, lambda done, total: None)

    assert score
    assert (score.num_pictures, score.mean_iou) == (2, expected.mean_iou)
    defined = [iou for iou in expected.class_iou if not math.isnan(iou)]
    assert [iou for iou in score.class_iou if iou is not None] == defined
    for path in (tmp_path / "data").rglob("*.tar"):
        path.unlink()
    assert held_out_score(champion, data, info, Confirmations(storage, "s")) == score


def test_a_data_set_without_a_test_split_has_no_score(squares: Squares, tmp_path: Path) -> None:
    data, info = written(squares(), tmp_path / "data")
    known = Confirmations(optuna.storages.InMemoryStorage(), "s")

    assert held_out_score(network(info), data, info, known) is None
