"""How well a network labels a split: confusion counts over all ranks.

K classes.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.core.partition import evaluation_share
from pipeline.learning.augment import normalise
from pipeline.learning.context import TrainContext, summed
from pipeline.learning.dataset import Dataset, Split
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
    share = evaluation_share(len(split), rank=context.rank, world_size=context.world_size)
    for start in range(0, len(share), _EVALUATION_BATCH):
        pairs = [split[index] for index in share[start : start + _EVALUATION_BATCH]]
        images, labels = (torch.stack(part).to(context.device) for part in zip(*pairs, strict=True))
        picture = normalise(images, info.mean, info.std).to(memory_format=torch.channels_last)
        prediction = model(picture).argmax(dim=1)
        confusion_KK += confusion_counts(prediction, labels, k, info.classes.ignore_index)
    return summed(confusion_KK, context)
