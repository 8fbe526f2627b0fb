"""What a run of a search is to do, and where what it trains is kept."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, TrainConfig, TrialSpec
from pipeline.core.effort import Effort
from pipeline.core.manifest import DatasetInfo
from pipeline.core.peer import Network, Peer
from pipeline.learning.network import network_size
from pipeline.runtime.confirmations import Retraining
from pipeline.runtime.confirming import ConfirmationPlan, plan_confirmation
from pipeline.runtime.records import TrialRecord
from pipeline.runtime.storage import absolute_uri
from pipeline.runtime.study import Study


@dataclass(frozen=True)
class SearchPlan:
    """What a search is to do, beside the study that it adds to."""

    data: DataConfig
    info: DatasetInfo
    training: TrainConfig
    seed: int
    effort: Effort
    store: str
    state_dir: Path
    num_networks: int  # of the space, with those over budget
    num_seeds: int = 0  # of confirmation
    peers: tuple[Peer, ...] = ()

    @property
    def studies_uri(self) -> str:
        """Return where networks are kept: one folder a study, in it one a trial."""
        return f"{self.store.rstrip('/')}/studies"

    def spec(self, trial: TrialRecord) -> TrialSpec:
        """Return the training that a trial is."""
        return TrialSpec(trial.architecture, self.data, self.training, self.seed)

    def spec_again(self, one: Retraining) -> TrialSpec:
        """Return the training that confirms: a trial's, but for the seed."""
        return TrialSpec(one.network, self.data, self.training, one.seed)

    def confirmation(self, study: Study) -> ConfirmationPlan:
        """Return what is to be trained again once the search has ended."""
        num_classes = self.info.classes.num_classes
        beside: list[Network] = [Architecture(num_classes=num_classes)]
        beside += [replace(peer, num_classes=num_classes) for peer in self.peers]
        sizes = {network: network_size(network) for network in beside}
        return plan_confirmation(study, self.num_seeds, self.seed, sizes)

    def trial_uri(self, study: Study, trial: TrialRecord) -> str:
        """Return the URI of a trial's own folder."""
        return absolute_uri(f"{self.studies_uri}/{study.name}/{trial.number:05d}")

    def again_uri(self, study: Study, one: Retraining) -> str:
        """Return the URI of the folder of a training that confirms."""
        return absolute_uri(f"{self.studies_uri}/{study.name}/again/{one.key}")
