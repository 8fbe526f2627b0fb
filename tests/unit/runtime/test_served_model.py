"""What MLflow loads a champion with, where it makes an environment for it."""

import importlib.metadata
import subprocess
import sys

from packaging.requirements import Requirement

from pipeline.runtime.registration import SERVING_PACKAGES

# Finds no package that is not allowed, as if it were not installed.
PROGRAM = """
import importlib.metadata, sys

allowed = set(sys.argv[1].split(","))
found = importlib.metadata.packages_distributions().items()
hidden = {top for top, names in found if not {n.lower().replace("_", "-") for n in names} & allowed}

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden - {"pipeline"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hiding())
import pipeline.runtime.served_model
try:
    import imagecodecs
except ModuleNotFoundError:
    print("loaded without")
"""


def needed(names: tuple[str, ...]) -> set[str]:
    """Return packages with all that they depend on."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        asked = map(Requirement, importlib.metadata.requires(name) or [])
        waiting += [r.name for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})]
    return seen


def test_a_served_model_needs_no_more_packages_than_it_names() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(needed(SERVING_PACKAGES))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout == "loaded without\n", done.stderr
