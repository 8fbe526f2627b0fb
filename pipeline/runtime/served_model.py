"""The champion as MLflow serves it. MLflow copies this file into the model and runs it on load.

The weights are a safetensors file: loading them cannot run code.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import DIGEST, WEIGHTS_FILE, check_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]
else:
    Array = np.ndarray  # the only hint of arrays that MLflow knows


class ServedModel(PythonModel):
    """Labels RGB pictures (B, H, W, 3) uint8 with class ids (B, H, W) uint8."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights that were logged with the model.

        Raises:
            DataError: they are not those, or no network of ours.
        """
        path = context.artifacts[WEIGHTS_FILE]
        weights = Path(path).read_bytes()
        check_digest(weights, context.model_config[DIGEST], path)
        self._segmenter = Segmenter.from_bytes(weights)

    def predict(
        self,
        context: PythonModelContext,
        model_input: Array,
        params: dict[str, Any] | None = None,
    ) -> Array:
        """Return the class id of every pixel."""
        return self._segmenter.label(np.asarray(model_input, dtype=np.uint8))


mlflow.models.set_model(ServedModel())
