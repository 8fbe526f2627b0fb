"""Fuzz every target for a while: ``python -m tests.fuzz [--seconds N] [TARGET ...]``."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import TARGETS

_FINDINGS = Path("build/fuzz")
# Ours is a bound on what one input may take; torch alone has some 400 MB before any input.
_BOUNDS = ("-max_len=65536", "-rss_limit_mb=2048", "-timeout=20")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    words = parser.parse_args()
    if unknown := [name for name in words.targets if name not in TARGETS]:
        parser.error(f"there is no target {unknown[0]}: use {', '.join(TARGETS)}")
    found = [name for name in words.targets or TARGETS if not _is_sound(name, words.seconds)]
    return 1 if found else 0


def _is_sound(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; say what was found."""
    findings = _FINDINGS / name
    findings.mkdir(parents=True, exist_ok=True)
    log = findings / "log"
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(TARGETS[name].seeds()):
            Path(corpus, str(number)).write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.one", name, corpus, *_BOUNDS]
        command += [f"-max_total_time={seconds}", f"-artifact_prefix={findings}/"]
        with log.open("w") as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                check=False,
            )
    lines = log.read_text(errors="replace").splitlines()
    if done.returncode == 0:
        print(f"{name}: {lines[-1] if lines else ''}", flush=True)
        return True
    said = next(
        (at for at, line in enumerate(lines) if "===" in line or "ERROR: libFuzzer" in line), -20
    )
    print(f"{name}: FOUND", *lines[said:], sep="\n")
    for path in (p for p in sorted(findings.iterdir()) if p.name.partition("-")[2]):
        print(f"replay with: python -m tests.fuzz.one {name} {path}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
