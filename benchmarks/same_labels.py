"""Labels of the same pictures by a registered model's pyfunc, plain onnxruntime and our predict.

    python -m benchmarks.same_labels models:/cgnet-camvid@champion CamVid/val [COUNT]

Each is used as someone would who has nothing of the others. A pixel is a tie where onnxruntime's
two greatest logits are within 1e-5: sums of float32 in another order may decide it either way.
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

TIE = 1e-5


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
        pixels = differing_pyfunc = differing_onnx = untied = 0
        for path in pictures:
            image_BHWC = np.asarray(Image.open(path).convert("RGB"))[None]
            ours_HW = np.asarray(Image.open(f"{root}/labels/{path.stem}.ids.png"))
            logits_BKHW, onnx_BHW = session.run(["logits", "labels"], {"image": image_BHWC})
            second_HW, first_HW = np.sort(logits_BKHW[0], axis=0)[-2:]
            differs_HW = onnx_BHW[0] != ours_HW
            pixels += ours_HW.size
            differing_pyfunc += int((served.predict(image_BHWC)[0] != ours_HW).sum())
            differing_onnx += int(differs_HW.sum())
            untied += int((differs_HW & (first_HW - second_HW > TIE)).sum())
            say(f"{path.name}: {differing_pyfunc} and {differing_onnx} so far")
    print(f"{len(pictures)} pictures, {pixels:,} pixels; unlike predict: ", end="")
    print(f"pyfunc {differing_pyfunc}, onnxruntime {differing_onnx}, {untied} of them no tie")


if __name__ == "__main__":
    main()
