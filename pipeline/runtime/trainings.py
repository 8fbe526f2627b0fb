"""Networks that `python -m pipeline.train` made on a study's data, to compare with it."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyarrow.fs import FileSelector

from pipeline.core.architecture import Architecture
from pipeline.core.config import COMPARED
from pipeline.core.errors import DataError
from pipeline.core.peer import Network, Peer
from pipeline.learning.folder import exists, read_bytes
from pipeline.learning.network import network_size
from pipeline.learning.weights import WEIGHTS_FILE, load_provenance, load_weights
from pipeline.runtime.figures.series import Rival, is_paper
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.storage import open_folder


@dataclass(frozen=True)
class Training:
    """One network that was trained alone, with its figures on val after the last epoch."""

    network: Network
    num_params: int
    mean_iou: float
    class_iou: tuple[float, ...]  # nan for a class that does not occur
    seed: int

    @property
    def is_paper(self) -> bool:
        """Return whether this is the network of the paper, M3N21."""
        return isinstance(self.network, Architecture) and is_paper(self.network)


def comparable_trainings(store: str, dataset: str, settings: Mapping[str, Any]) -> list[Training]:
    """Return the finished trainings in a store of the same data by the same recipe.

    Args:
        store: s3://bucket[/prefix] or a folder.
        dataset: name of the data set.
        settings: of the study to compare with.
    """
    wanted = [settings.get(key) for key in ("fingerprint", *COMPARED)]
    folder = open_folder(f"{store.rstrip('/')}/trainings", create=False)
    found = folder.get_file_info(FileSelector("", allow_not_found=True))
    names = sorted(f.base_name for f in found if f.base_name.startswith(f"{dataset}-"))
    trainings = []
    for name in names:
        if not exists(folder, f"{name}/{WEIGHTS_FILE}"):
            continue
        content = read_bytes(folder, f"{name}/{WEIGHTS_FILE}")
        try:
            provenance, deployment = load_provenance(content), load_weights(content)[1]
        except DataError:
            continue
        if provenance is None or wanted != [
            provenance.fingerprint,
            *(provenance.recipe.get(key) for key in COMPARED),
        ]:
            continue
        trainings.append(
            Training(
                network=deployment.architecture,
                num_params=network_size(deployment.architecture),
                mean_iou=provenance.mean_iou,
                class_iou=tuple(math.nan if v is None else v for v in provenance.class_iou),
                seed=provenance.seed,
            )
        )
    return trainings


def rivals(trainings: list[Training], trials: list[TrialRecord]) -> list[Rival]:
    """Return the peers, and M3N21 where no trial is of it, each at the mean over its seeds."""
    has_paper = any(t.state is State.COMPLETE and is_paper(t.architecture) for t in trials)
    shown = [
        one
        for one in trainings
        if isinstance(one.network, Peer) or (one.is_paper and not has_paper)
    ]
    by_network = {one.network.id: one for one in shown}
    return [
        Rival(
            "M3N21" if one.is_paper else one.network.label,
            one.num_params,
            statistics.fmean(other.mean_iou for other in shown if other.network.id == key),
        )
        for key, one in by_network.items()
    ]
