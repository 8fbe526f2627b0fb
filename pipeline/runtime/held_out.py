"""The test split, which no search sees: a champion is scored on it, once."""

import math

from pipeline.core.config import DataConfig
from pipeline.core.manifest import DatasetInfo
from pipeline.learning.assessment import assess
from pipeline.runtime.confirmations import Confirmations, HeldOutScore
from pipeline.runtime.networks import Network
from pipeline.runtime.s3_shards import open_stored


def held_out_score(
    network: Network, data: DataConfig, info: DatasetInfo, known: Confirmations
) -> HeldOutScore | None:
    """Return what a network scores on test, from the study if it was scored; None without a test.

    Raises:
        DataError: a sample cannot be read.
    """
    if not info.num_samples.get("test"):
        return None
    if score := known.test_score(network.digest):
        return score
    dataset = open_stored(data.uri, data)
    split = dataset.split("test", cache="none")  # each picture is read once
    assessment = assess(network.segmenter, split, info.classes, lambda done, total: None)
    score = HeldOutScore(
        mean_iou=assessment.mean_iou,
        class_iou=tuple(None if math.isnan(iou) else iou for iou in assessment.class_iou),
        num_pictures=assessment.num_pictures,
    )
    known.keep_test_score(network.digest, score)
    return score
