"""What is taken for what, as a picture."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_DARK = 0.55  # share above which white text is easier to read


def confusion_png(confusion_KK: NDArray[np.int64], names: Sequence[str], title: str) -> bytes:
    """Return a confusion matrix as a PNG: each row the share of a class's pixels, in per cent.

    Args:
        confusion_KK: counts, rows the truth, columns the prediction.
        names: of the classes.
        title: of the picture.
    """
    share_KK = row_shares(confusion_KK)
    count = len(names)
    side = 3 + 0.42 * count
    figure = Figure(figsize=(side + 0.8, side), dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share_KK * 100, cmap="Blues", vmin=0, vmax=100)
    axes.set(title=title, xlabel="prediction", ylabel="truth")
    axes.set_xticks(range(count), names, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    for (row, column), share in np.ndenumerate(share_KK):
        if share >= 0.005:  # a grid of zeros hides what matters
            colour = "white" if share > _DARK else "#333333"
            text = f"{share * 100:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, label="% of the class's pixels", shrink=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def row_shares(confusion_KK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each row as shares of its sum; nan for a class without pixels."""
    with np.errstate(invalid="ignore"):
        return np.asarray(confusion_KK / confusion_KK.sum(axis=1, keepdims=True), dtype=np.float64)
