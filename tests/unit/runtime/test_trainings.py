"""Trainings beside a study: only those that compare, under the names people know."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.config import RECIPES, TrainConfig
from pipeline.core.peer import Network, Peer
from pipeline.learning.folder import write_bytes
from pipeline.learning.network import build, network_size
from pipeline.learning.provenance import Provenance
from pipeline.learning.weights import Deployment, save_weights
from pipeline.runtime.figures.series import Rival
from pipeline.runtime.storage import open_folder
from pipeline.runtime.trainings import comparable_trainings, rivals

TRAINING = asdict(TrainConfig(epochs=3))
SETTINGS = json.loads(json.dumps(TRAINING | {"fingerprint": "f", "budget": 500_000}))
PAPER, SMALL = Architecture(2), Architecture(2, num_blocks_3=2, widths=(8, 16, 32))


def train(store: Path, name: str, network: Network, mean_iou: float, **more: object) -> None:
    """Leave what a training leaves."""
    provenance = Provenance(
        **{
            "dataset": "squares",
            "fingerprint": "f",
            "image_size": (32, 48),
            "num_samples": {"train": 8, "val": 4},
            "recipe": TRAINING,
            "seed": 0,
            "mean_iou": mean_iou,
            "class_iou": (mean_iou, None),
        }
        | more
    )
    deployment = Deployment(
        *(network, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), ("dark", "light"), ((0, 0, 0), (9, 9, 9))
    )
    folder = open_folder(f"{store}/trainings/{name}")
    save_weights(folder, build(network), deployment, provenance)


def test_only_trainings_of_the_same_data_and_recipe_are_compared(tmp_path: Path) -> None:
    train(tmp_path, "squares-a", SMALL, 0.5)
    train(tmp_path, "squares-b", SMALL, 0.9, recipe=asdict(TrainConfig(epochs=30)))
    train(tmp_path, "squares-f", SMALL, 0.9, recipe=asdict(TrainConfig(3, weight_decay=1e-2)))
    train(tmp_path, "squares-g", SMALL, 0.9, recipe=asdict(RECIPES["paper"]) | {"epochs": 3})
    train(tmp_path, "squares-c", SMALL, 0.9, fingerprint="other")
    write_bytes(open_folder(f"{tmp_path}/trainings"), "squares-d/weights.safetensors", b"broken")
    open_folder(f"{tmp_path}/trainings/squares-e")  # running, or killed
    found = comparable_trainings(str(tmp_path), "squares", SETTINGS)

    assert [(one.network, one.mean_iou) for one in found] == [(SMALL, 0.5)]
    assert found[0].num_params == network_size(SMALL)
    assert comparable_trainings(str(tmp_path / "none"), "squares", SETTINGS) == []


def test_peers_and_m3n21_are_named_at_the_mean_of_their_seeds(tmp_path: Path) -> None:
    peer = Peer("enet", 2)
    train(tmp_path, "squares-a", PAPER, 0.4)
    train(tmp_path, "squares-b", PAPER, 0.6, seed=1)
    train(tmp_path, "squares-c", peer, 0.3)
    train(tmp_path, "squares-d", SMALL, 0.2)
    found = comparable_trainings(str(tmp_path), "squares", SETTINGS)

    assert rivals(found, []) == [
        Rival("M3N21", network_size(PAPER), pytest.approx(0.5)),
        Rival("ENet", network_size(peer), pytest.approx(0.3)),
    ]
