"""From a finished search to figures, pictures and files to ship, as a user types it."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from pipeline.sources.streets.source import Streets
from tests.e2e.conftest import Shell

STUDY = "deploy"


@pytest.fixture(scope="module")
def found(shell: Shell, dataset: str) -> str:
    """The output of a search of one trial: its network is the champion, and the study's front."""
    words = ("--budget", "25k", "--space", "smoke", "--dataset", dataset, "--batch-size", "32")
    return shell.check("search", *words, "--name", STUDY, "--trials", "1", "--epochs", "1")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two street scenes of different sizes, one in a folder of its own, and a broken file."""
    folder = tmp_path_factory.mktemp("pictures")
    source = Streets()
    first, second = source.keys()["val"][:2]
    (folder / "deep").mkdir()
    Image.fromarray(source.read("val", first).image_HWC).save(folder / "a.png")
    Image.fromarray(source.read("val", second).image_HWC[3:-8, :-5]).save(
        folder / "deep" / "b.webp"
    )
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    return folder


def test_the_studys_champion_scores_what_the_search_said(
    shell: Shell, found: str, dataset: str, tmp_path: Path
) -> None:
    run_id = re.findall(r"/runs/([0-9a-f]{32})", found)[-1]
    mean_iou = float(re.findall(r"^ *[\d,]+ +([\d.]+) +0 +M", found, re.MULTILINE)[-1])
    words = (run_id, "--dataset", dataset, "--output", str(tmp_path))
    out = shell.check("evaluate", *words)

    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["mean_iou"] * 100 == pytest.approx(mean_iou, abs=0.1)
    assert figures["num_pictures"] == 96
    assert f"{dataset} val, 96 pictures" in out
    assert re.search(r"latency +[\d.]+ ms median", out)
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_split_that_is_not_there_is_told(shell: Shell, found: str, dataset: str) -> None:
    words = (f"s3://cgnet/studies/{STUDY}/00000", "--dataset", dataset, "--split", "test")
    done = shell.run("evaluate", *words)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "has no test split" in done.stderr


def test_what_is_exported_labels_as_what_predicts(
    shell: Shell, found: str, pictures: Path, tmp_path: Path
) -> None:
    """The champion of the registry, as a folder of files, on pictures of two sizes."""
    before = {path: path.read_bytes() for path in pictures.rglob("*.*")}
    champion = re.findall(r"champion: (models:/\S+)", found)[-1]
    shell.check("export", champion, "--output", str(tmp_path / "net"))
    weights, labels = tmp_path / "net" / "weights.safetensors", tmp_path / "labels"
    done = shell.run("predict", str(pictures), "--network", str(weights), "--output", str(labels))

    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "broken.jpg" not in line] == []
    session = onnxruntime.InferenceSession(str(tmp_path / "net" / "model.onnx"))
    for name, suffix in (("a", ".png"), ("deep/b", ".webp")):
        image = np.array(Image.open(pictures / f"{name}{suffix}").convert("RGB"))
        ids = Image.open(labels / f"{name}.ids.png")
        (expected,) = session.run(["labels"], {"image": image[None]})
        assert ids.mode == "P"
        assert (np.array(ids) == expected[0]).mean() > 0.999
        assert Image.open(labels / f"{name}.overlay.png").size == ids.size
    assert before == {path: path.read_bytes() for path in pictures.rglob("*.*")}
    card = (tmp_path / "net" / "MODEL_CARD.md").read_text()
    assert "| data | streets-32x48 (fingerprint " in card
    assert "The registry says of this version" in card


def test_without_a_network_the_default_champion_is_asked_for(
    shell: Shell, found: str, pictures: Path, tmp_path: Path
) -> None:
    """This shell has searched on small streets only."""
    done = shell.run("predict", str(pictures / "a.png"), "--output", str(tmp_path))

    assert done.returncode == 2
    assert "MLflow has no model models:/cgnet-streets@champion" in done.stderr
    assert done.stderr.count("\n") == 1
