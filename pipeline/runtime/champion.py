"""The best network within a study's budget: what is known of it, and when it replaces another."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.manifest import DatasetInfo
from pipeline.learning.network import count_built_macs
from pipeline.learning.weights import DIGEST
from pipeline.runtime.confirmations import HeldOutScore
from pipeline.runtime.model_card import (
    SEEDS_TAG,
    SPREAD_TAG,
    TEST_CLASSES_TAG,
    TEST_TAG,
    limits,
    training_licence,
)
from pipeline.runtime.networks import Network

ORIGINAL_FILE = "original.safetensors"  # beside the weights of one that was compacted


@dataclass(frozen=True)
class Champion:
    """A network chosen by its mean IoU on val.

    Attributes:
        study: it was found by.
        budget: of the study.
        network: with its weights; of several trainings the one that scored highest on val.
        weights_uri: folder of the weights.
        mean_iou: it was chosen by: the mean over the seeds, or the search's own score.
        seeds: of the trainings that confirmed it; none if it is as the search found it.
        spread: standard deviation over the seeds; None of fewer than two.
        held_out: what the weights score on test, if there is one.
        compacted: the network without what its training killed; None where nothing was.
    """

    study: str
    budget: int
    network: Network
    weights_uri: str
    mean_iou: float
    seeds: tuple[int, ...] = ()
    spread: float | None = None
    held_out: HeldOutScore | None = None
    compacted: Network | None = None

    @property
    def shipped(self) -> Network:
        """Return the network that others get: compacted where that made it smaller."""
        return self.compacted or self.network

    def facts(self, info: DatasetInfo) -> dict[str, str]:
        """Return what the registry says of it, by name."""
        facts = {
            DIGEST: self.shipped.digest,
            "study": self.study,
            "budget": str(self.budget),
            "architecture": self.network.segmenter.deployment.architecture.label,
            "num_params": str(self.network.num_params),
            "data": info.name,
            "data_fingerprint": info.fingerprint,
            "val_mean_iou": f"{self.mean_iou:.4f}",
            SEEDS_TAG: ", ".join(map(str, self.seeds)) or "none",
        }
        if self.compacted:
            facts["deployed_parameters"] = str(self.compacted.num_params)
            facts["deployed_macs"] = str(_macs(self.compacted, info))
            facts["macs"] = str(_macs(self.network, info))
            facts["original_sha256"] = self.network.digest
        if self.network.provenance:
            facts["recipe"] = json.dumps(self.network.provenance.recipe, sort_keys=True)
        if self.spread is not None:
            facts[SPREAD_TAG] = f"{self.spread:.4f}"
        if self.held_out:
            facts[TEST_TAG] = f"{self.held_out.mean_iou:.4f}"
            rounded = [iou and round(iou, 4) for iou in self.held_out.class_iou]
            facts[TEST_CLASSES_TAG] = json.dumps(rounded)
        return facts

    def description(self, info: DatasetInfo) -> str:
        """Return what a person reads first, as Markdown."""
        provenance = self.network.provenance
        lines = [
            f"CGNet {self.network.segmenter.deployment.architecture.label}, "
            f"{self.shipped.num_params:,} parameters of a budget of {self.budget:,}, found by "
            f"study {self.study} on {info.name} (fingerprint {info.fingerprint}).",
            self._claim(),
        ]
        if self.compacted:
            lines.append(
                f"It was trained with {self.network.num_params:,} parameters, all of them in "
                f"{ORIGINAL_FILE}: what training killed is taken out, which changes no label."
            )
        if self.held_out:
            lines.append(
                f"Mean IoU on test {self.held_out.mean_iou * 100:.2f} % "
                f"({self.held_out.num_pictures} pictures, scored once)."
            )
        if provenance:
            recipe = ", ".join(f"{name} {value}" for name, value in provenance.recipe.items())
            lines.append(f"Recipe: {recipe}; these weights have seed {provenance.seed}.")
        return "\n\n".join([*lines, *limits(info.name), training_licence(info.name)])

    def _claim(self) -> str:
        score = f"{self.mean_iou * 100:.2f}"
        if not self.seeds:
            return (
                f"Mean IoU on val {score} %, one training, the best of the search: it flatters, "
                "and was not confirmed with other seeds."
            )
        spread = "" if self.spread is None else f" ± {self.spread * 100:.2f}"
        return (
            f"Mean IoU on val {score}{spread} % over {len(self.seeds)} trainings from scratch "
            "after the search; the weights are those of the best of them on val."
        )


def _macs(network: Network, info: DatasetInfo) -> int:
    return count_built_macs(network.segmenter.model, *info.image_size)


def takes_over(new: Mapping[str, str], old: Mapping[str, str]) -> bool:
    """Return whether a version with these facts may have the alias that another has.

    An alias stays with its budget. What a study said later replaces what it said before. Between
    studies on the same data the higher mean IoU on val decides, but nothing unconfirmed replaces
    what was confirmed.
    """
    if "study" not in old:  # of an earlier version of this program
        return True
    if old["budget"] != new["budget"]:
        return False
    if old["study"] == new["study"]:
        return True
    if old["data_fingerprint"] != new["data_fingerprint"]:
        return True
    return _standing(new) >= _standing(old)


def _standing(facts: Mapping[str, str]) -> tuple[bool, float]:
    return facts[SEEDS_TAG] != "none", float(facts["val_mean_iou"])
