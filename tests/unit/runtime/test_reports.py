"""What a person reads of an evaluation and of an exported network."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.manifest import ClassTable, DatasetInfo
from pipeline.core.peer import Peer
from pipeline.learning.assessment import Assessment
from pipeline.learning.cgnet import CGNet
from pipeline.learning.latency import Footprint, Timing
from pipeline.learning.network import build
from pipeline.learning.onnx_export import OnnxNetwork
from pipeline.learning.provenance import Provenance
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import Deployment, pack_weights
from pipeline.runtime.confusion_figure import row_shares
from pipeline.runtime.evaluation_report import Evaluation, as_json, as_text, write_files
from pipeline.runtime.model_card import Export, card_size, model_card
from pipeline.runtime.networks import Network

ARCHITECTURE = Architecture(3, num_blocks_2=1, num_blocks_3=1, widths=(4, 8, 16), reduction_3=8)
CLASSES = ClassTable(("road", "car", "sky"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)), 255)
INFO = DatasetInfo(
    name="camvid-300x400",
    fingerprint="f00d",
    generation="g",
    classes=CLASSES,
    num_samples={"train": 8, "val": 2},
    image_size=(300, 400),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    class_pixels=(1, 1, 1),
    class_weights=(1.0, 1.0, 1.0),
)
PROVENANCE = Provenance(
    dataset="camvid-300x400",
    fingerprint="f00d",
    image_size=(300, 400),
    num_samples={"train": 8, "val": 2},
    recipe={"epochs": 3, "learning_rate": 0.001},
    seed=7,
    mean_iou=0.4321,
    class_iou=(0.5, 0.3642, None),
)
TIMING = Timing(median_s=0.0125, fast_s=0.012, slow_s=0.015, runs=30)
SPEED = Footprint("A Processor", 2, 300, 400, TIMING, loaded_bytes=200 << 20, peak_bytes=260 << 20)
ASSESSMENT = Assessment(
    torch.tensor([[75, 25, 0], [20, 80, 0], [0, 0, 0]]),
    torch.tensor([[0.5, 0.25, math.nan], [1.0, math.nan, math.nan]]),
)


def network(
    provenance: Provenance | None,
    notes: dict[str, str] | None = None,
    of: Architecture | Peer = ARCHITECTURE,
) -> Network:
    deployment = Deployment(of, INFO.mean, INFO.std, CLASSES.names, CLASSES.palette)
    weights = pack_weights(build(of), deployment, provenance)
    segmenter = Segmenter.from_bytes(weights)
    return Network("/home/me/net", weights, segmenter, provenance, notes or {})


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return Evaluation(network(PROVENANCE), INFO, "val", ASSESSMENT, SPEED)


def test_every_figure_is_printed_with_what_it_depends_on(evaluation: Evaluation) -> None:
    text = as_text(evaluation)

    assert "camvid-300x400 val, 2 pictures" in text
    assert "mean IoU        63.25 %" in text  # 75/120 and 80/125; the sky is nowhere
    assert "pixel accuracy  77.50 %" in text
    assert (
        "boundary F1     68.75 %  (Csurka et al. 2013, within 0.75% of the diagonal: 3.8 pixels)"
        in text
    )
    assert "road  62.50          75.00" in text
    assert "sky       -              -" in text
    assert "0 road   75   25    0" in text
    assert "2 sky     -    -    -" in text
    assert "one picture of 300x400, warm, on A Processor, 2 threads" in text
    assert "12.5 ms median, 12.0 to 15.0 ms the middle 80 %" in text
    assert "260 MiB resident, 200 MiB of it before the first picture" in text


def test_the_same_figures_are_written_as_json_with_a_picture(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    figures, picture = write_files(evaluation, tmp_path / "new")
    read = json.loads(figures.read_text(), parse_constant=pytest.fail)

    assert read == json.loads(json.dumps(as_json(evaluation)))
    assert read["confusion"] == ASSESSMENT.confusion_KK.tolist()
    assert read["classes"]["sky"] == {"iou": None, "boundary_f1": None, "pixels": 0}
    assert read["mean_iou"] == pytest.approx(0.6325, abs=1e-4)
    assert read["speed"]["timing"]["median_s"] == 0.0125
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_row_of_confusion_adds_up_to_its_class() -> None:
    shares = row_shares(np.array([[3, 1], [0, 0]]))

    assert shares[0].tolist() == [0.75, 0.25]
    assert np.isnan(shares[1]).all()


def card(provenance: Provenance | None, notes: dict[str, str] | None = None) -> str:
    onnx = OnnxNetwork(b"graph", 20, 3e-6)
    return model_card(Export(network(provenance, notes), onnx, SPEED, TIMING))


def test_the_card_of_a_peer_does_not_call_it_cgnet() -> None:
    exported = network(PROVENANCE, of=Peer("enet", num_classes=3))
    text = model_card(Export(exported, OnnxNetwork(b"graph", 20, 3e-6), SPEED, TIMING))

    assert text.startswith("# ENet\n")
    assert "A variant of CGNet" not in text


def test_a_card_says_what_the_network_is_and_how_to_feed_it() -> None:
    text = card(PROVENANCE)

    num_params = sum(p.numel() for p in CGNet(ARCHITECTURE).parameters())
    assert text.startswith(f"# CGNet {ARCHITECTURE.label}\n")
    assert f"| parameters | {num_params:,} |" in text
    assert "uint8 RGB, (batch, height, width, 3)" in text
    assert "0 road, 1 car, 2 sky" in text
    assert "| data | camvid-300x400 (fingerprint f00d) |" in text
    assert "| learning_rate | 0.001 |" in text
    assert "Mean IoU 43.21 % on the val split" in text
    assert "seed 7" in text
    assert "| sky | - |" in text
    assert "| onnxruntime | 12.5 | 12.0 to 15.0 |" in text
    assert "CC BY-NC 4.0" in text
    assert "/home/me" not in text, "a card travels"


def test_a_card_tells_what_the_registry_knows() -> None:
    assert "| val_mean_iou | 0.4321 |" in card(PROVENANCE, {"val_mean_iou": "0.4321"})


def test_a_card_of_unknown_origin_says_so() -> None:
    text = card(None)

    assert card_size(None) == (360, 480)
    assert "Not recorded" in text
    assert "`python -m pipeline.evaluate` measures them" in text
    assert "has a licence of its own" in text
