"""What a study was: kept beside its journal, so that a report needs neither services nor luck."""

import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

import pipeline
from pipeline.core.errors import DataError
from pipeline.core.fields import count, counts, counts_by_name, text, texts
from pipeline.learning.latency import processor_name

ABOUT_FILE = "about.json"
_PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")


@dataclass(frozen=True)
class StudyAbout:
    """What a study's last run was asked for, on what and by what.

    Attributes:
        command: as it was typed, without logins in addresses.
        store: where its data set and networks are.
        dataset: name of the data set.
        image_size: (height, width) of its pictures.
        num_samples: of it, per split.
        class_names: of its classes.
        networks: that the space has.
        networks_within_budget: of those.
        sampler: that proposes trials.
        stopping: rule that ends them early.
        versions: of Python, this program and what it stands on.
        machine: that the driver ran on.
    """

    command: str
    store: str
    dataset: str
    image_size: tuple[int, int]
    num_samples: Mapping[str, int]
    class_names: tuple[str, ...]
    networks: int
    networks_within_budget: int
    sampler: str
    stopping: str
    versions: Mapping[str, str]
    machine: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Put it into a study's folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{ABOUT_FILE}.partial"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(folder / ABOUT_FILE)

    def params(self) -> dict[str, object]:
        """Return what a study's run in MLflow has beside the settings."""
        named = ("command", "networks", "networks_within_budget", "sampler", "stopping")
        return {
            **{name: getattr(self, name) for name in named},
            **{f"version_{key}": value for key, value in self.versions.items()},
            **{f"machine_{key}": value for key, value in self.machine.items()},
        }

    @classmethod
    def read(cls, folder: Path) -> "StudyAbout | None":
        """Read it from a study's folder; None where a study has none.

        Raises:
            DataError: the file is none of ours.
        """
        path = folder / ABOUT_FILE
        if not path.exists():
            return None
        try:
            fields: dict[str, Any] = json.loads(path.read_text())
            height, width = counts(fields["image_size"], 2)
            checked = {
                "image_size": (height, width),
                "class_names": texts(fields["class_names"]),
                "num_samples": counts_by_name(fields["num_samples"]),
                "networks": count(fields["networks"]),
                "networks_within_budget": count(fields["networks_within_budget"]),
            }
            words = ("command", "store", "dataset", "sampler", "stopping")
            checked |= {name: text(fields[name]) for name in words}
            for name in ("versions", "machine"):
                checked[name] = {text(key): text(said) for key, said in fields[name].items()}
            return cls(**fields | checked)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as cause:
            raise DataError(f"{path} is no description of a study ({cause}): delete it") from cause


def command_line(module: str, words: Sequence[str]) -> str:
    """Return a command as a person types it; a login in an address is taken out."""
    return without_logins(shlex.join(["python", "-m", module, *words]))


def without_logins(text: str) -> str:
    """Return a text whose addresses have lost their ``user:password@``."""
    return _LOGIN.sub("", text)


def versions() -> dict[str, str]:
    """Return the versions of Python, this program and the packages that decide its results."""
    here = Path(str(pipeline.__file__)).parent
    return {
        "python": platform.python_version(),
        "cgnet-search": f"{pipeline.__version__} {_commit(here)}".strip(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }


def machine() -> dict[str, str]:
    """Return what this machine is, but not whose."""
    return {
        "processor": processor_name(),
        "cpus": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
    }


def _commit(folder: Path) -> str:
    """Return the commit of the checkout that ``folder`` is in; empty where there is none."""
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
