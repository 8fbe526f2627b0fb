"""`python -m pipeline.predict`: pictures in, labels out."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from pipeline.cli import run_command
from pipeline.core.errors import DataError
from pipeline.sources.collection import plan_outputs

if TYPE_CHECKING:
    from pipeline.learning.segmenter import Segmenter


@dataclass(frozen=True)
class PredictOptions:
    """Label pictures: for each an overlay to look at, and a PNG of class ids to work with."""

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures (PNG, JPEG, WebP) of any size, or folders of them, folders in folders included."""
    output: Path
    """Folder for NAME.overlay.png and NAME.ids.png; no picture to label may lie in it."""
    network: str = "models:/cgnet-streets@champion"
    """MLflow run id (a study's means its champion), models:/NAME@champion, a folder or
    .safetensors file (a path or s3://), or the authors' .pth."""
    official_preprocessing: bool = False
    """For the authors' .pth: take the means off as their code does, blue's from red and red's
    from blue; their published weights were trained so."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services and logs."""


def predict(options: PredictOptions) -> int:
    """Label; print what was written. A picture that cannot be read is told, the others go on."""
    outputs = plan_outputs(options.pictures, options.output)
    # Torch only now, when the words are known to be right.
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.runtime import console
    from pipeline.runtime.networks import open_network

    console.log_to_file(options.state_dir / "logs" / "predict.log")
    network = open_network(
        options.network, options.state_dir, official_preprocessing=options.official_preprocessing
    )
    num_unreadable = 0
    for picture, name in outputs.items():
        try:
            for path in _write_labels(network.segmenter, picture, options.output, name):
                sys.stdout.write(f"{path}\n")
        except DataError as error:
            sys.stderr.write(f"error: {error}\n")
            num_unreadable += 1
    return 1 if num_unreadable else 0


def _write_labels(segmenter: "Segmenter", picture: Path, output: Path, name: str) -> list[Path]:
    from pipeline.learning.folder import write_bytes
    from pipeline.learning.painting import ids_png, overlay_png
    from pipeline.runtime.storage import open_folder
    from pipeline.sources.pictures import read_image

    image_HWC = read_image(picture)
    labels_HW = segmenter.label(image_HWC[None])[0]
    palette = segmenter.deployment.palette
    files = {
        f"{name}.overlay.png": overlay_png(image_HWC, labels_HW, palette),
        f"{name}.ids.png": ids_png(labels_HW, palette),
    }
    folder = open_folder(str(output))
    for file, content in files.items():
        write_bytes(folder, file, content)
    return [output / file for file in files]


def main() -> int:
    """Run the command."""
    return run_command("predict", PredictOptions, predict)


if __name__ == "__main__":
    raise SystemExit(main())
