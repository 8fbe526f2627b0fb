"""How well a network labels a split: confusion counts over all ranks.

K classes.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.learning.augment import normalise
from pipeline.learning.context import TrainContext, summed
from pipeline.learning.dataset import Dataset, Split
from pipeline.learning.loader import evaluation_batches
from pipeline.learning.metrics import confusion_counts

_EVALUATION_BATCH = 8


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, dataset: Dataset, context: TrainContext) -> Tensor:
    """Return (K, K) confusion counts over a split, each sample counted once over all ranks."""
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
    return summed(confusion_KK, context)
