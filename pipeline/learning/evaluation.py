"""How well a network labels a split: confusion counts over all ranks.

K classes.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.core.errors import DataError
from pipeline.learning.context import TrainContext, summed
from pipeline.learning.dataset import Dataset
from pipeline.learning.loader import evaluation_batches
from pipeline.learning.metrics import confusion_counts
from pipeline.learning.normalisation import normalise
from pipeline.learning.split import Split

_EVALUATION_BATCH = 8


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, dataset: Dataset, context: TrainContext) -> Tensor:
    """Return (K, K) confusion counts over a split, each sample counted once over all ranks.

    Raises:
        CorruptSample: a sample cannot be read and is not to be skipped.
        DataError: no sample can be read, or none has a labelled pixel.
        ServiceUnavailable: the storage does not answer.
    """
    model.eval()
    info = dataset.info
    k = info.classes.num_classes
    if context.world_size > 1:  # each rank saw other batches: evaluate one set of statistics
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
    confusion_KK = torch.zeros(k, k, dtype=torch.int64, device=context.device)
    batches = evaluation_batches(
        split, _EVALUATION_BATCH, rank=context.rank, world_size=context.world_size
    )
    for batch in batches:
        images, labels = (part.to(context.device) for part in batch)
        prediction = model(normalise(images, info.mean, info.std)).argmax(dim=1)
        confusion_KK += confusion_counts(prediction, labels, k, info.classes.ignore_index)
    confusion_KK = summed(confusion_KK, context)
    if not confusion_KK.any():
        reason = f"such as: {split.corrupt[0]}" if split.corrupt else "check its labels"
        raise DataError(
            f"no labelled pixel of the {split.records[0].split} split in {dataset.uri} can be "
            f"read, {reason}"
        )
    return confusion_KK
