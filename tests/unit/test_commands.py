"""The words of each command: quick help, one line for what is wrong, the right exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("compact", "preprocess", "search", "services", "train")
HEAVY = ("torch", "ray", "mlflow", "optuna", "pyarrow", "boto3")


def run(*words: str, **options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False, **options
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    program = (
        f"import sys; sys.argv = ['x', '--help']\n"
        f"from pipeline.{command} import main\n"
        f"try: main()\n"
        f"except SystemExit as end: code = end.code\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), code, file=sys.stderr)"
    )
    done = run("-c", program)

    assert "usage: python -m pipeline." in done.stdout
    assert done.stderr.strip() == "[] 0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "abc"), "'abc' is not a count: write digits with an optional k, M or G"),
        (("--budget", "0.1M"), "at most 100,000 parameters: the smallest has"),
        (("--budget", "0.5M", "--space", "none"), "no search space 'none': there are cgnet,"),
        (("--budget", "0.5M", "--trials", "0"), "--trials must be at least 1, got 0"),
        (("--budget", "0.5M", "--epochs", "0"), "epochs must be at least 1, got 0"),
    ],
)
def test_a_wrong_word_of_search_is_one_line_and_code_2(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = run("-m", "pipeline.search", *words, "--state-dir", str(tmp_path / "state"))

    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "state").exists(), "nothing has been started or written"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--dataset", "none"), 2, "there is no data set 'none': use one of camvid, streets"),
        (("--dataset", "camvid"), 2, "camvid needs --source DIR"),
        (("--image-size", "12"), 2, "'12' is not a picture size"),
        (("--output", "ftp://x/y"), 2, "is no place for data"),
        (("--dataset", "camvid", "--source", "missing"), 1, "missing"),
    ],
)
def test_a_wrong_word_of_preprocess_is_one_line(
    words: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    done = run("-m", "pipeline.preprocess", *words, "--state-dir", str(tmp_path / "state"))

    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "state" / "services").exists(), "no service has been started"


def test_an_unknown_option_is_named() -> None:
    done = run("-m", "pipeline.search", "--budgte", "0.5M")

    assert done.returncode == 2
    assert "--budgte" in done.stderr
