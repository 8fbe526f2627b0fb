"""One training as a user types it, and what a killed worker costs."""

import os
import re
import signal
from pathlib import Path

import psutil
from PIL import Image

from tests.e2e.conftest import Shell

WORDS = (
    *("--num-blocks-2", "1", "--num-blocks-3", "2", "--widths", "8", "16", "32"),
    *("--batch-size", "32"),
)


def test_two_workers_train_one_network(shell: Shell, dataset: str) -> None:
    out = shell.check("train", *WORDS, "--dataset", dataset, "--epochs", "2", "--workers", "2")

    assert [int(n) for n in re.findall(r"epoch (\d)/2", out)] == [1, 2]
    assert re.search(r"weights: s3://cgnet/trainings/streets-32x48-\w+/weights.safetensors", out)


def test_a_killed_worker_is_replaced_and_goes_on_from_its_checkpoint(
    shell: Shell, dataset: str
) -> None:
    process = shell.start("train", *WORDS, "--dataset", dataset, "--epochs", "6", "--seed", "1")
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(2)]
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(child.cmdline())
    ]
    assert workers
    workers[0].send_signal(signal.SIGKILL)
    rest, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    epochs = [int(n) for n in re.findall(r"epoch (\d)/6", "".join(lines) + rest)]
    assert epochs == [1, 2, 3, 4, 5, 6]


def test_a_damaged_sample_ends_a_training_by_name_or_is_left_out_and_told(
    shell: Shell, tmp_path: Path
) -> None:
    for split, count in (("train", 9), ("val", 2)):
        for index in range(count):
            for kind, mode in ((split, "RGB"), (f"{split}annot", "L")):
                path = tmp_path / "CamVid" / kind / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new(mode, (24, 16)).save(path)
    out = tmp_path / "data"
    source = ("--dataset", "camvid", "--source", str(tmp_path / "CamVid"))
    shell.check("preprocess", *source, "--output", str(out))
    (tar,) = out.rglob("train-000000.tar")
    content = bytearray(tar.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 1  # in the first sample's picture
    tar.write_bytes(content)

    # Workers are in folders of their own: what is given from here must be found there.
    here, there = (os.path.relpath(path) for path in (out, tmp_path))
    words = (*WORDS[:-1], "8", "--dataset", here, "--epochs", "1", "--store", there)
    failed = shell.run("train", *words)
    assert failed.returncode == 1
    assert re.search(r"error: sample 0 in \w+/train-000000.tar is damaged", failed.stderr)

    done = shell.run("train", *words, "--on-corrupt", "skip")
    assert done.returncode == 0, done.stderr
    assert "could not be read and were left out: 1, such as: sample 0" in done.stderr
    assert Path(done.stdout.rpartition("weights: ")[2].strip()).is_relative_to(tmp_path)
    assert list((tmp_path / "trainings").rglob("*.safetensors"))
    assert shell.run("preprocess", "--verify", str(out)).returncode == 1
