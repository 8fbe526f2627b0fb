"""`python -m pipeline.export`: a network as files to ship, with a card that says what it is."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.cli import run_command


@dataclass(frozen=True)
class ExportOptions:
    """Write a network as ONNX and safetensors, checked against each other, with a model card."""

    network: tyro.conf.Positional[str]
    """MLflow run id (a study's means its champion), models:/NAME@champion, a folder or
    .safetensors file (a path or s3://), or the authors' .pth."""
    output: Path
    """Folder for model.onnx, weights.safetensors and MODEL_CARD.md."""
    official_preprocessing: bool = False
    """For the authors' .pth: take the means off as their code does, blue's from red and red's
    from blue; their published weights were trained so."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services and logs."""


def export(options: ExportOptions) -> int:
    """Export; print what was written. Nothing is, unless ONNX gives what torch gives."""
    # Torch only now, when the words are known to be right.
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.learning.folder import write_bytes
    from pipeline.runtime import console
    from pipeline.runtime.networks import open_network
    from pipeline.runtime.packaging import package
    from pipeline.runtime.storage import open_folder

    console.log_to_file(options.state_dir / "logs" / "export.log")
    network = open_network(
        options.network, options.state_dir, official_preprocessing=options.official_preprocessing
    )
    files = package(network)
    folder = open_folder(str(options.output))
    for name, content in files.items():
        write_bytes(folder, name, content)
        sys.stdout.write(f"{options.output / name}  {len(content):,} bytes\n")
    return 0


def main() -> int:
    """Run the command."""
    return run_command("export", ExportOptions, export)


if __name__ == "__main__":
    raise SystemExit(main())
