"""The image: what hadolint says, who it runs as, what goes in."""

import re
from pathlib import Path

import pytest

from pipeline import __version__
from tests.infra.programs import INFRA, REPOSITORY, run

DOCKERFILE = (INFRA / "Dockerfile").read_text()


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run("hadolint", INFRA / "Dockerfile")

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("line", "rule"),
    [("FROM debian:latest", "DL3007"), ("FROM a:1\nRUN apt-get install wget", "DL3008")],
)
def test_hadolint_refuses_what_floats(tmp_path: Path, line: str, rule: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"{line}\n")

    done = run("hadolint", tmp_path / "Dockerfile")

    assert done.returncode == 1
    assert rule in done.stdout


def test_the_image_is_not_roots() -> None:
    last_stage = DOCKERFILE.rsplit("\nFROM ", 1)[1]

    assert re.findall(r"^USER (.*)$", last_stage, re.MULTILINE) == ["1000"]


def test_only_what_is_listed_is_sent_to_the_builder() -> None:
    first, *others = (REPOSITORY / ".dockerignore").read_text().split()
    sent = {line[1:] for line in others if line.startswith("!")}

    assert first == "*"
    assert sent == {
        *("pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
        *("pipeline", "search_spaces"),
    }


def test_every_file_names_the_image_by_our_version() -> None:
    named = [
        *re.findall(
            r"cgnet-search:\$\{CGNET_VERSION:-(.+?)\}", (INFRA / "compose.yaml").read_text()
        ),
        *re.findall(r"cgnet-search:(\S+)", (INFRA / "ray-up/aws.yaml").read_text()),
        *re.findall(r"newTag: ([\d.]+)", (INFRA / "kuberay/eks/kustomization.yaml").read_text()),
    ]

    assert named == [__version__] * 3
