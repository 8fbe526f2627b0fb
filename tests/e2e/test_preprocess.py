"""Preprocessing as a user types it: killed in the middle, asked first, checked after."""

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from webdataset import TarWriter

from tests.e2e.conftest import Shell

CLASSES = """
name = "mine"
[[classes]]
name = "dark"
colour = [0, 0, 0]
[[classes]]
name = "light"
colour = [255, 255, 255]
"""


def kill_with_its_cluster(process: "subprocess.Popen[str]") -> None:
    """Kill -9 the command alone; wait until its workers have ended by themselves."""
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if child.name().startswith(("ray::_", "ray::IDLE"))]
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(workers, timeout=30)

    assert not alive


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A CamVid folder of 241 pictures that take a while to encode."""
    root = tmp_path / "CamVid"
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for split, count in (("train", 240), ("val", 1)):
        for folder, pixels in ((split, noise), (f"{split}annot", noise[..., 0] // 23)):
            (root / folder).mkdir(parents=True)
            Image.fromarray(pixels).save(root / folder / "000.png")
            content = (root / folder / "000.png").read_bytes()
            for index in range(1, count):
                (root / folder / f"{index:03d}.png").write_bytes(content)
    return root


def test_a_killed_run_is_gone_on_with_and_never_half_seen(
    shell: Shell, camvid: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("--dataset", "camvid", "--source", str(camvid), "--output", str(out))
    words += ("--shard-size", "2")
    process = shell.start("preprocess", *words)
    deadline = time.monotonic() + 120
    while len(list(out.rglob("*.parquet"))) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill_with_its_cluster(process)
    finished = [out / p.parents[1] / f"{p.stem}.tar" for p in out.rglob("parts/*.parquet")]
    before = {path: path.stat().st_mtime_ns for path in finished}

    assert 5 <= len(finished) < 121
    assert not (out / "dataset.json").exists()
    planned = shell.check("preprocess", *words, "--dry-run")
    assert planned.endswith(f"{len(finished)} are there already, {121 - len(finished)} to write\n")
    done = shell.run("preprocess", *words)
    assert done.returncode == 0, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in finished}
    assert len(list(out.rglob("*.tar"))) == 121
    assert len(list(out.rglob("*.parquet"))) == 1
    assert shell.check("preprocess", "--verify", str(out)) == (
        f"{out}: 240 train, 1 val samples of 240x320, 11 classes in 121 shards, all well\n"
    )


def test_tars_of_others_are_taken_in_and_damage_is_told(shell: Shell, tmp_path: Path) -> None:
    classes = tmp_path / "classes.toml"
    classes.write_text(CLASSES)
    for split in ("train", "val"):
        with TarWriter(str(tmp_path / f"{split}-0.tar")) as tar:
            for index in range(3):
                image, label = Image.new("RGB", (16, 8)), Image.new("L", (16, 8), index % 2)
                tar.write({"__key__": f"{index}", "jpg": image, "mask.png": label})
    taken = shell.check("preprocess", "--index", str(tmp_path), "--classes", str(classes))

    assert taken.startswith(f"{tmp_path}: 3 train, 3 val samples of 8x16, 2 classes\n")
    (tmp_path / "val-0.tar").unlink()
    verdict = shell.run("preprocess", "--verify", str(tmp_path))
    assert verdict.returncode == 1
    assert verdict.stdout == f"{tmp_path}: damaged, findings: 1\n  val-0.tar is missing\n"


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_dry_run_writes_nothing(shell: Shell, tmp_path: Path, place: str) -> None:
    uri = str(tmp_path / "out") if place == "folder" else "s3://not-made-yet/out"
    said = shell.check("preprocess", "--output", uri, "--dry-run")

    assert said.startswith(f"1536 train, 96 val samples, 64 in a shard: 26 shards in {uri}/")
    assert said.endswith("\n0 are there already, 26 to write\n")
    assert not (tmp_path / "out").exists()
    again = shell.check("preprocess", "--output", uri, "--dry-run")
    assert again == said
