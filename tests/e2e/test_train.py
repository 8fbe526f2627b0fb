"""One training as a user types it, and what a killed worker costs."""

import re
import signal

import psutil

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
