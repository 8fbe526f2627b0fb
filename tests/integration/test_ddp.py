"""Two ranks train as one process does on the same global batch: gloo on this machine."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.layout import Layout
from pipeline.learning.cgnet import CGNet
from pipeline.learning.context import LocalContext
from pipeline.learning.dataset import open_dataset
from pipeline.learning.folder import write_bytes
from pipeline.learning.loop import train
from pipeline.learning.weights import WEIGHTS_FILE, load_weights
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import in_process
from pipeline.sources.streets.source import Streets


@pytest.fixture(scope="module")
def data_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight small street scenes and five more to evaluate: an odd number over two ranks."""
    uri = str(tmp_path_factory.mktemp("streets"))
    source = Streets(num_train=8, num_val=5, image_size=(32, 48))
    shard_dataset(source, "streets", uri, Layout(), run=in_process)
    return uri


def spec(data_uri: str) -> TrialSpec:
    architecture = Architecture(11, 1, 2, widths=(8, 16, 32))
    training = TrainConfig(epochs=2, batch_size=4, mixing=0.5, num_workers=2)
    return TrialSpec(architecture, DataConfig(data_uri, "gen"), training, seed=0)


def run_rank(rank: int, world_size: int, port: int, data_uri: str, out: str) -> None:
    """Train in this process; write the results of this rank into ``out``."""
    torch.set_num_threads(1)
    # Each rank has its own batch statistics, which is no mistake but would hide one: hold them.
    CGNet.train = lambda self, mode=True: nn.Module.train(self, False)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", address, rank=rank, world_size=world_size)
    dataset = open_dataset(open_folder(data_uri))
    data = (dataset, dataset.split("train"), dataset.split("val"))
    folder = open_folder(out)
    results = list(train(spec(data_uri), LocalContext(folder, data, rank, world_size)))
    curve = [(result.train_loss, result.mean_iou) for result in results]
    write_bytes(folder, f"rank{rank}.json", json.dumps(curve).encode())
    if world_size > 1:
        dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def trained(data_uri: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The folder of the same training by one process and by two."""
    folders = {size: tmp_path_factory.mktemp(f"world{size}") for size in (1, 2)}
    for size, folder in folders.items():
        mp.spawn(run_rank, (size, free_port(), data_uri, str(folder)), nprocs=size)
    return folders


def test_two_ranks_report_what_one_process_does(trained: dict[int, Path]) -> None:
    one = json.loads((trained[1] / "rank0.json").read_text())
    two = json.loads((trained[2] / "rank0.json").read_text())

    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_all_ranks_report_the_same(trained: dict[int, Path]) -> None:
    first, second = ((trained[2] / f"rank{rank}.json").read_text() for rank in (0, 1))

    assert first == second


def test_two_ranks_end_with_the_weights_of_one_process(trained: dict[int, Path]) -> None:
    one, two = (
        load_weights((trained[size] / WEIGHTS_FILE).read_bytes())[0].state_dict() for size in (1, 2)
    )

    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=name)
