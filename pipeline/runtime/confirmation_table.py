"""What the new trainings say of a search's claims, for people and as JSON."""

from dataclasses import asdict
from typing import Any

from pipeline.runtime.confirmations import Confirmed
from pipeline.runtime.confirming import Confirmation


def confirmation_lines(confirmation: Confirmation, budget: int) -> list[str]:
    """Return the claims beside what became of them, and which of the front was left out."""
    plan = confirmation.plan
    rows = [("parameters", "search %", "again %", "network")]
    rows += [_row(one, confirmation, budget) for one in confirmation.networks]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"trained again from scratch with {_seeds(plan.seeds)}, mIoU on val:",
        *(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False))
            + f"  {row[3]}"
            for row in rows
        ),
        f"hypervolume of {len(plan.members.chosen)} members of the front: claimed "
        f"{confirmation.claimed:.3f}, confirmed {confirmation.confirmed:.3f}",
    ]
    if left_out := plan.members.left_out:
        numbers = ", ".join(str(trial.number) for trial in left_out)
        lines.append(f"of the front, what adds least was not trained again: trials {numbers}")
    return lines


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _row(one: Confirmed, confirmation: Confirmation, budget: int) -> tuple[str, str, str, str]:
    searched = confirmation.searched(one.network)
    notes = [
        *(["peer"] if one.is_peer else []),
        *(["as published"] if one.is_published else []),
        *(["over budget"] if one.num_params > budget else []),
        *([f"{len(one.runs)} of {one.num_wanted} seeds"] if len(one.runs) < one.num_wanted else []),
    ]
    label = one.network.label + (f" ({', '.join(notes)})" if notes else "")
    return (
        f"{one.num_params:,}",
        "-" if searched is None else f"{searched * 100:.2f}",
        one.score,
        label,
    )


def confirmation_json(confirmation: Confirmation) -> dict[str, Any]:
    """Return every training of the confirmation, as JSON can hold it."""
    return {
        "seeds": confirmation.plan.seeds,
        "hypervolume": {"claimed": confirmation.claimed, "confirmed": confirmation.confirmed},
        "left_out": [trial.number for trial in confirmation.plan.members.left_out],
        "networks": [
            {
                "network": one.network.to_dict(),
                "num_params": one.num_params,
                "search_mean_iou": confirmation.searched(one.network),
                "mean_iou": one.mean_iou,
                "spread": one.spread,
                "trainings": [
                    {"seed": run.seed, "epochs": [asdict(result) for result in run.results]}
                    for run in one.runs
                ],
            }
            for one in confirmation.networks
        ],
    }
