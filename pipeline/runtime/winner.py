"""Which network of a study is its champion, with all that is known of it."""

from dataclasses import replace

from pipeline.core.errors import DataError
from pipeline.learning.folder import read_bytes
from pipeline.learning.weights import WEIGHTS_FILE
from pipeline.runtime.champion import Champion
from pipeline.runtime.compacted import lighter
from pipeline.runtime.confirmations import Confirmations
from pipeline.runtime.confirming import Confirmation
from pipeline.runtime.console import say
from pipeline.runtime.held_out import held_out_score
from pipeline.runtime.networks import Network, network_of
from pipeline.runtime.records import front
from pipeline.runtime.search_plan import SearchPlan
from pipeline.runtime.storage import open_folder
from pipeline.runtime.study import Study


def find_champion(
    plan: SearchPlan, study: Study, known: Confirmations, confirmation: Confirmation | None
) -> Champion | None:
    """Return the best network within budget: of those confirmed, if the search is to be.

    A confirmed one is scored on test, if that has not been done. None: there is none yet.
    """
    if not plan.num_seeds:
        return _as_found(plan, study)
    if confirmation is None or (best := confirmation.best_within(study.budget)) is None:
        return None
    champion = _champion(study, plan.again_uri(study, best.best_run), best.mean_iou)
    return replace(
        champion,
        seeds=tuple(run.seed for run in best.runs),
        spread=best.spread,
        held_out=held_out_score(champion.network, plan.data, plan.info, known),
    )


def _as_found(plan: SearchPlan, study: Study) -> Champion | None:
    if not (found := front(study.trials())):
        return None
    return _champion(study, plan.trial_uri(study, found[-1]), found[-1].mean_iou)


def _champion(study: Study, uri: str, mean_iou: float) -> Champion:
    network = network_of(read_bytes(open_folder(uri), WEIGHTS_FILE), uri)
    compacted = _compacted(network, study.budget)
    return Champion(study.name, study.budget, network, uri, mean_iou, compacted=compacted)


def _compacted(network: Network, budget: int) -> Network | None:
    """Return what ships; a network whose compaction went wrong ships as it is."""
    try:
        return lighter(network, budget)
    except DataError as error:
        say(f"warning: the champion is not compacted: {error}")
        return None
