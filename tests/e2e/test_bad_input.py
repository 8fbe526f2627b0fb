"""What cannot work is told in one line, with the exit code that a script can act on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Shell

BUDGET = ("--budget", "25k", "--space", "smoke")


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A CamVid folder of two training pictures and one to validate."""
    for split, count in (("train", 2), ("val", 1)):
        for index in range(count):
            for folder, array in (
                (split, np.zeros((16, 24, 3), dtype=np.uint8)),
                (f"{split}annot", np.zeros((16, 24), dtype=np.uint8)),
            ):
                path = tmp_path / "CamVid" / folder / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return tmp_path / "CamVid"


def lose_a_label(root: Path) -> None:
    (root / "trainannot" / "1.png").unlink()


def shrink_a_label(root: Path) -> None:
    Image.fromarray(np.zeros((8, 24), dtype=np.uint8)).save(root / "trainannot" / "1.png")


def invent_a_class(root: Path) -> None:
    Image.fromarray(np.full((16, 24), 12, dtype=np.uint8)).save(root / "trainannot" / "1.png")


def damage_a_picture(root: Path) -> None:
    path = root / "train" / "1.png"
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_a_label, "1.png"),
        (shrink_a_label, "1.png"),
        (invent_a_class, "12"),
        (damage_a_picture, "1.png"),
        (shutil.rmtree, "CamVid"),
    ],
)
def test_a_wrong_source_is_named_and_nothing_is_left(
    shell: Shell, camvid: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(camvid)
    out = tmp_path / "out"
    words = ("--dataset", "camvid", "--source", str(camvid), "--output", str(out))
    done = shell.run("preprocess", *words)

    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if "samples," not in line]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ")
    assert said in errors[0]
    assert not (out / "dataset.json").exists(), "half a data set is none"


def test_too_few_samples_for_the_workers_are_told_before_anything_starts(
    shell: Shell, camvid: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    shell.check("preprocess", "--dataset", "camvid", "--source", str(camvid), "--output", out)
    few = shell.run("search", *BUDGET, "--dataset", out, "--store", str(tmp_path / "store"))

    assert few.returncode == 2
    assert few.stderr.startswith("error: the train split has 2 samples, too few for one batch of 8")
    uneven = shell.run("train", "--dataset", out, "--batch-size", "1", "--workers", "2")
    assert uneven.returncode == 2
    assert uneven.stderr.startswith("error: a batch of 1 leaves some of 2 workers without a sample")


def test_an_unknown_data_set_is_told_with_those_there_are(shell: Shell, dataset: str) -> None:
    done = shell.run("search", *BUDGET, "--dataset", "mapillary")

    assert done.returncode == 2
    assert done.stderr.startswith("error: no data set 'mapillary' in s3://cgnet: there are ")
    assert dataset in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--name", "--warm-start"])
def test_a_name_that_is_none_is_refused(shell: Shell, option: str) -> None:
    done = shell.run("search", *BUDGET, option, "../x")

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {option} '../x' cannot name a study: use letters")


def test_a_data_set_that_was_not_made_is_told_with_how_to(shell: Shell) -> None:
    done = shell.run("search", *BUDGET, "--dataset", "camvid-120x160")

    assert done.returncode == 2
    assert "--dataset camvid --source DIR --image-size 120x160" in done.stderr


@pytest.mark.parametrize("command", [("search", *BUDGET), ("preprocess",)])
def test_an_s3_that_does_not_answer_is_named(shell: Shell, command: tuple[str, ...]) -> None:
    done = shell.run(
        *command,
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_DEFAULT_REGION="us-east-1",
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: S3 at http://127.0.0.1:9 does not answer")
    assert done.stderr.count("\n") == 1


def test_wrong_keys_are_told_and_not_shown(shell: Shell, dataset: str) -> None:
    endpoint = next(
        line.split("=", 1)[1].strip("'\"\n")
        for line in (shell.state_dir / "services" / "env.sh").read_text().splitlines()
        if "AWS_ENDPOINT_URL_S3=" in line
    )
    done = shell.run(
        "search",
        *(*BUDGET, "--dataset", dataset),
        AWS_ENDPOINT_URL_S3=endpoint,
        AWS_ACCESS_KEY_ID="wrongkey",
        AWS_SECRET_ACCESS_KEY="wrongsecret",
        AWS_DEFAULT_REGION="us-east-1",
    )

    assert done.returncode == 1
    assert "InvalidAccessKeyId; check AWS_ACCESS_KEY_ID" in done.stderr
    assert "wrongsecret" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_mlflow_that_does_not_answer_is_named_and_nothing_trained(
    shell: Shell, dataset: str
) -> None:
    done = shell.run(
        "search",
        *(*BUDGET, "--dataset", dataset, "--name", "no-mlflow"),
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )

    assert done.returncode == 1
    assert "error: MLflow at http://127.0.0.1:9 does not answer" in done.stderr
    assert "Traceback" not in done.stderr
