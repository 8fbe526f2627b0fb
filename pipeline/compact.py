"""`python -m pipeline.compact`: a trained network without what its training killed."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from pipeline.cli import run_command
from pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from pipeline.learning.compact.measure import Agreement
    from pipeline.learning.compact.report import Removed
    from pipeline.runtime.networks import Network

_SIZE = (360, 480)
_COLUMNS = ("built", "zero", "constant", "unread", "kept")


@dataclass(frozen=True)
class CompactOptions:
    """Take out of a trained network what no logit depends on; it labels every picture as before."""

    network: tyro.conf.Positional[str]
    """MLflow run id (a study's means its champion), models:/NAME@champion, a folder or
    .safetensors file (a path or s3://), or the authors' .pth."""
    output: Path | None = None
    """File to write, .safetensors; else NETWORK.compact.safetensors beside a file, and
    compact.safetensors here for what is none."""
    fold_bn: bool = False
    """Make batch norm part of the convolutions, for deployment."""
    official_preprocessing: bool = False
    """For the authors' .pth: take the means off as their code does, blue's from red and red's
    from blue; their published weights were trained so."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services and logs."""


def compact(options: CompactOptions) -> int:
    """Compact; print what went and what it saves. Nothing is written unless the logits agree."""
    output = options.output or _beside(Path(options.network))
    if output.suffix != ".safetensors":
        raise UsageError(f"--output must end in .safetensors, got {output}")
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.learning.folder import write_bytes
    from pipeline.runtime.compacted import compacted
    from pipeline.runtime.networks import open_network
    from pipeline.runtime.storage import open_folder

    network = open_network(
        options.network, options.state_dir, official_preprocessing=options.official_preprocessing
    )
    done = compacted(network, fold_bn=options.fold_bn)
    _print_removed(done.removed)
    _print_costs(network, done.network)
    _print_agreement(done.agreement)
    write_bytes(open_folder(str(output.parent)), output.name, done.network.weights)
    sys.stdout.write(f"written: {output}\n")
    return 0


def _beside(network: Path) -> Path:
    if network.is_file():
        return network.with_suffix(".compact.safetensors")
    return Path("compact.safetensors")


def _print_removed(kinds: "tuple[Removed, ...]") -> None:
    sys.stdout.write(f"{'':18}{''.join(f'{column:>10}' for column in _COLUMNS)}\n")
    for kind in kinds:
        cells = "".join(f"{getattr(kind, column):>10,}" for column in _COLUMNS)
        sys.stdout.write(f"{kind.kind:18}{cells}\n")


def _print_costs(network: "Network", smaller: "Network") -> None:
    from pipeline.learning.network import count_built_macs
    from pipeline.runtime.compacted import times

    both = (network, smaller)
    size = "x".join(map(str, _SIZE))
    macs = (count_built_macs(each.segmenter.model, *_SIZE) for each in both)
    sys.stdout.write(_change("parameters", *(each.num_params for each in both)))
    sys.stdout.write(_change(f"MACs at {size}", *macs))
    before, after = times(both, *_SIZE)
    sys.stdout.write(
        f"CPU at {size}: {before * 1e3:.1f} ms to {after * 1e3:.1f} ms, {before / after:.2f}x\n"
    )


def _change(name: str, before: int, after: int) -> str:
    return f"{name}: {before:,} to {after:,}, {100 * (1 - after / before):.1f} % less\n"


def _print_agreement(seen: "Agreement") -> None:
    sys.stdout.write(
        f"logits (up to {seen.greatest:.1f}) differ by {seen.difference:.1e} at most, "
        f"labels at {seen.labels_differing} of {seen.pixels:,} pixels\n"
    )


def main() -> int:
    """Run the command."""
    return run_command("compact", CompactOptions, compact)


if __name__ == "__main__":
    raise SystemExit(main())
