"""What a training step minimises. B batch, H height, W width, K classes, P pixels."""

from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F

_PIXELS = 2700  # of a picture, at least, that the Lovász-softmax sorts: of 180x240 every 4th a side


def weighted_loss(
    logits_BKHW: Tensor, label_BHW: Tensor, class_weights_K: Tensor, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Return the class-weighted cross-entropy summed over pixels, and the sum of the weights."""
    label = label_BHW.long()
    loss = F.cross_entropy(
        logits_BKHW, label, weight=class_weights_K, ignore_index=ignore_index, reduction="sum"
    )
    counts_K = torch.bincount(label_BHW.flatten(), minlength=256)[: len(class_weights_K)]
    return loss, (counts_K * class_weights_K).sum()


def lovasz_softmax(
    logits_BKHW: Tensor, label_BHW: Tensor, ignore_index: int, step: int = 0
) -> Tensor:
    """Return the Lovász-softmax loss of each picture, 0 to 1, summed over pictures.

    Of each class in a picture 1 - IoU, extended to probabilities, and of these the mean (Berman et
    al., CVPR 2018, equation 9 and algorithm 1); 0 for a picture without labels. Pictures stand for
    themselves, so that the sum is the same however a batch is shared among ranks. Large pictures
    are thinned to a lattice, which ``step`` shifts: sorting all pixels would take longer than the
    network.
    """
    stride = max(1, isqrt(label_BHW.shape[1] * label_BHW.shape[2] // _PIXELS))
    top, left = step % stride, step // stride % stride
    logits_BKP = logits_BKHW[:, :, top::stride, left::stride].flatten(2)
    label_BP = label_BHW[:, top::stride, left::stride].flatten(1)
    is_labelled_B1P = (label_BP != ignore_index)[:, None]
    classes_K1 = torch.arange(logits_BKP.shape[1], device=label_BP.device)[:, None]
    is_class_BKP = label_BP[:, None] == classes_K1
    errors_BKP = (is_class_BKP.float() - logits_BKP.softmax(1)).abs() * is_labelled_B1P
    errors_BKP, order_BKP = errors_BKP.sort(dim=2, descending=True)
    hits_BKP = is_class_BKP.gather(2, order_BKP).cumsum(2)
    sizes_BK1 = hits_BKP[:, :, -1:]
    ranks_P = torch.arange(1, label_BP.shape[1] + 1, device=label_BP.device)
    lost_BKP = 1 - (sizes_BK1 - hits_BKP) / (sizes_BK1 + ranks_P - hits_BKP)
    growth_BKP = lost_BKP.diff(dim=2, prepend=torch.zeros_like(lost_BKP[:, :, :1]))
    loss_BK = (errors_BKP * growth_BKP).sum(2)
    is_present_BK = sizes_BK1[:, :, 0] > 0
    per_picture_B = (loss_BK * is_present_BK).sum(1) / is_present_BK.sum(1).clamp(min=1)
    return per_picture_B.sum()
