"""What is trained again after a search, with several seeds, and what comes of its claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.core.architecture import Architecture
from pipeline.core.front import hypervolume
from pipeline.core.peer import Network
from pipeline.runtime.confirmations import Confirmations, Confirmed, Retraining
from pipeline.runtime.members import Members, choose_members
from pipeline.runtime.records import front_hypervolume
from pipeline.runtime.study import Study


@dataclass(frozen=True)
class ConfirmationPlan:
    """What is trained again.

    Attributes:
        members: of the study's front.
        others: networks beside them and their sizes, whatever the budget: M3N21, peers.
        seeds: of the trainings of each.
    """

    members: Members
    seeds: tuple[int, ...]
    others: Mapping[Network, int] = field(default_factory=dict)

    @property
    def retrainings(self) -> list[Retraining]:
        """Return every training, one of each network before the second of any."""
        members = {trial.architecture: trial.num_params for trial in self.members.chosen}
        return [
            Retraining(network, num_params, seed)
            for seed in self.seeds
            for network, num_params in (members | {**self.others}).items()
        ]


def plan_confirmation(
    study: Study, count: int, seed: int, others: Mapping[Network, int]
) -> ConfirmationPlan:
    """Return what a study whose search has ended is to train again; a function of its trials.

    Args:
        study: with its trials.
        count: trainings of each network.
        seed: of the search; no training gets it.
        others: networks beside the front, and their sizes.
    """
    return ConfirmationPlan(choose_members(study), tuple(range(seed + 1, seed + 1 + count)), others)


@dataclass(frozen=True)
class Confirmation:
    """What came of it.

    Attributes:
        plan: what was to be trained.
        networks: what was, smallest first.
        claimed: hypervolume of the members by their scores in the search.
        confirmed: likewise by their means over the new seeds; less is the luck of the search.
    """

    plan: ConfirmationPlan
    networks: tuple[Confirmed, ...]
    claimed: float
    confirmed: float

    def best_within(self, budget: int) -> Confirmed | None:
        """Return the CGNet with the highest mean that fits, of those whose seeds are all in."""
        fitting = [
            one
            for one in self.networks
            if not one.is_peer and one.num_params <= budget and len(one.runs) == one.num_wanted
        ]
        return max(fitting, key=lambda one: one.mean_iou, default=None)

    def searched(self, network: Network) -> float | None:
        """Return what the search said of a member; None for what is none."""
        scores = {trial.architecture: trial.mean_iou for trial in self.plan.members.chosen}
        return scores.get(network) if isinstance(network, Architecture) else None


def confirmation_of(plan: ConfirmationPlan, study: Study, known: Confirmations) -> Confirmation:
    """Return what is known so far of what was to be trained again."""
    networks = known.confirmed(plan.retrainings)
    if study.sizes.deployed:
        networks = [replace(one, num_params=one.deployed_parameters) for one in networks]
    members = {trial.architecture for trial in plan.members.chosen}
    # Both volumes are of the same networks, else one left out or failed would look like luck.
    found = [one for one in networks if one.network in members]
    again = {one.network for one in found}
    searched = [trial for trial in plan.members.chosen if trial.architecture in again]
    limit = study.budget + 1
    points = [(one.num_params, -one.mean_iou) for one in found if one.num_params < limit]
    return Confirmation(
        plan,
        tuple(networks),
        claimed=front_hypervolume(searched, study.budget, study.floor),
        confirmed=hypervolume(points, (limit, -study.floor)) / study.budget,
    )
