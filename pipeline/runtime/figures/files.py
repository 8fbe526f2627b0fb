"""The files that a study leaves: its front for programs, its figures for people."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runtime.figures.front import front_png
from pipeline.runtime.figures.page import figures_page
from pipeline.runtime.figures.series import Rival, SeedScores, front_series
from pipeline.runtime.records import (
    TrialRecord,
    any_shrank,
    as_deployed,
    front,
    front_hypervolume,
)

PICTURE, PAGE, FRONT = "figures/front.png", "figures/figures.html", "front.parquet"
DEPLOYED_PICTURE = "figures/front_deployed.png"


def study_files(
    trials: list[TrialRecord],
    budget: int,
    floor: float,
    title: str,
    *,
    seeds: SeedScores | None = None,
    rivals: Sequence[Rival] = (),
) -> dict[str, bytes]:
    """Return the files by their names; the arguments are those of ``figures_page``."""
    rows = front_rows(trials, seeds)
    page = figures_page(trials, budget, floor, title, seeds=seeds, rivals=rivals)
    whole = {
        "budget": budget,
        "floor": floor,
        "hypervolume": front_hypervolume(trials, budget, floor),
        "front": rows,
    }
    files = {
        PICTURE: front_png(front_series(trials, seeds, rivals), budget, title),
        PAGE: page.encode(),
        "front.json": (json.dumps(whole, indent=2) + "\n").encode(),
        FRONT: _parquet(rows),
    }
    if any_shrank(trials):
        series = front_series(as_deployed(trials), seeds, rivals)
        files[DEPLOYED_PICTURE] = front_png(series, budget, f"{title}, as deployed")
    return files


def front_rows(trials: list[TrialRecord], seeds: SeedScores | None = None) -> list[dict[str, Any]]:
    """Return the front, smallest first, a row a network."""
    return [
        {
            "trial": trial.number,
            "network": trial.architecture.label,
            "num_params": trial.num_params,
            "deployed_parameters": trial.deployed_parameters,
            "mean_iou": trial.mean_iou,
            "seeds": list((seeds or {}).get(trial.architecture.id, ())),
            "architecture": trial.architecture.to_dict(),
        }
        for trial in front(trials)
    ]


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    """Return the rows with the architecture's fields as columns."""
    flat = [
        {k: v for k, v in row.items() if k != "architecture"} | row["architecture"] for row in rows
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(flat), sink)
    return sink.getvalue()
