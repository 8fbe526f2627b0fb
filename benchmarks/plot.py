"""The figure of a comparison of searches: how far each is after how much training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from numpy.typing import NDArray

_LINES = cycler(linestyle=["-", "--"]) * cycler(color=plt.get_cmap("Dark2").colors)

Panels = Mapping[str, Mapping[str, Sequence[NDArray[np.float64]]]]


def draw(panels: Panels, path: Path, *, against: str, share_of: str, level: float) -> None:
    """Draw the mean over the seeds of each method's share, a panel for each table searched.

    Args:
        panels: by the panel's title and the method's name, the shares of each seed, at 1, 2, ...
        path: file for the figure.
        against: what is counted along the horizontal axis.
        share_of: whose hypervolume is 1.
        level: share at which to draw a line.
    """
    size = (5 * len(panels) + 2, 4.5)
    figure, columns = plt.subplots(
        1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, found) in zip(columns[0], panels.items(), strict=True):
        longest = max(len(one) for of_seeds in found.values() for one in of_seeds)
        axes.set_prop_cycle(_LINES)
        for name, of_seeds in found.items():
            rows = [np.pad(one, (0, longest - len(one)), mode="edge") for one in of_seeds]
            mean = np.mean(rows, axis=0)
            axes.step(np.arange(1, longest + 1), mean, where="post", label=name)
        axes.axhline(level, color="0.7", linewidth=0.8)
        axes.set(title=title, xlabel=against, ylim=(0.4, 1.01))
    columns[0][0].set_ylabel(f"share of {share_of}")
    handles, names = columns[0][-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
