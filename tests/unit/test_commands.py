"""The words of each command: quick help, one line for what is wrong, the right exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    *("compact", "evaluate", "export", "predict", "preprocess"),
    *("report", "search", "services", "train"),
)
HEAVY = ("torch", "ray", "mlflow", "optuna", "pyarrow", "boto3", "onnx", "onnxruntime")


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
        (("--budget", "0.5M", "--space", "none"), "no search space 'none': there are ablation,"),
        (("--budget", "0.5M", "--seed", "-1"), "--seed must be at least 0, got -1"),
        (("--budget", "0.5M", "--trials", "0"), "--trials must be at least 1, got 0"),
        (("--budget", "0.5M", "--patience", "0"), "--patience must be at least 1, got 0"),
        (("--budget", "0.5M", "--time", "soon"), "'soon' is not a duration"),
        (("--budget", "0.5M", "--floor", "100"), "--floor must be 0 to below 100"),
        (("--budget", "0.5M", "--simulate", "no.parquet"), "there is no table no.parquet"),
        (("--budget", "0.5M", "--study-storage", "db.sqlite"), "--study-storage is no URL: write"),
        (("--budget", "0.5M", "--epochs", "0"), "epochs must be at least 1, got 0"),
        (("--budget", "0.5M", "--budget-on", "deployed"), "choose --recipe sparse"),
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
    ("words", "said"),
    [
        (("--peer", "unet"), "there is no peer 'unet': use one of deeplabv3, enet, espnet, fcn"),
        (("--peer", "enet", "--num-blocks-3", "9"), "--num-blocks-3 is of CGNet: leave it out"),
        (("--peer", "enet", "--pointwise"), "--pointwise is of CGNet: leave it out with --peer"),
        (("--seed", "-1"), "--seed must be at least 0, got -1"),
        (("--widths", "32", "63", "128"), "widths must be three counts, the last two even"),
    ],
)
def test_a_wrong_word_of_train_is_one_line_and_code_2(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = run("-m", "pipeline.train", *words, "--state-dir", str(tmp_path / "state"))

    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "state").exists(), "nothing has been started or written"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--dataset", "none"), 2, "there is no data set 'none': use one of camvid, cityscapes,"),
        (("--dataset", "camvid"), 2, "camvid needs --source DIR"),
        (("--image-size", "12"), 2, "'12' is not a picture size"),
        (("--output", "ftp://x/y"), 2, "is no place for data"),
        (("--dataset", "camvid", "--source", "missing"), 1, "missing"),
        (("--quality", "80"), 2, "png is lossless and has no quality: leave --quality out"),
        (("--shard-size", "many"), 2, "'many' is not a shard size: write samples, like 64"),
        (("--index", "x", "--verify", "x"), 2, "--verify and --index are two things"),
        (("--index", "x"), 2, "--index needs --classes FILE"),
        (("--index", "./x", "--classes", "missing.toml"), 1, "missing.toml cannot be read"),
        (("--verify", "./missing"), 1, "dataset.json is missing in"),
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
