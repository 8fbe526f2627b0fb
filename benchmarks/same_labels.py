"""Labels of the same pictures by a registered model's pyfunc, plain onnxruntime and our predict.

    python -m benchmarks.same_labels models:/cgnet-camvid@champion CamVid/val [COUNT]

Each is used as someone would who has nothing of the others.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.report import say


def command(*words: str) -> None:
    """Run a command of ours that has to go well."""
    subprocess.run((sys.executable, "-m", *words), check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Label, compare, and print how many pixels differ."""
    model, folder = sys.argv[1], Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    pictures = sorted(folder.glob("*.png"))[:count]
    with tempfile.TemporaryDirectory() as root:
        command("pipeline.export", model, "--output", f"{root}/export")
        words = ("--network", model, "--output", f"{root}/labels")
        command("pipeline.predict", *map(str, pictures), *words)
        served = mlflow.pyfunc.load_model(model)
        session = onnxruntime.InferenceSession(f"{root}/export/model.onnx")
        pixels = differing_pyfunc = differing_onnx = 0
        for path in pictures:
            image_BHWC = np.asarray(Image.open(path).convert("RGB"))[None]
            ours_HW = np.asarray(Image.open(f"{root}/labels/{path.stem}.ids.png"))
            (onnx_BHW,) = session.run(["labels"], {"image": image_BHWC})
            pixels += ours_HW.size
            differing_pyfunc += int((served.predict(image_BHWC)[0] != ours_HW).sum())
            differing_onnx += int((onnx_BHW[0] != ours_HW).sum())
            say(f"{path.name}: {differing_pyfunc} and {differing_onnx} so far")
    print(f"{len(pictures)} pictures, {pixels:,} pixels; unlike predict: ", end="")
    print(f"pyfunc {differing_pyfunc}, onnxruntime {differing_onnx}")


if __name__ == "__main__":
    main()
