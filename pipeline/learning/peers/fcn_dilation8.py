"""FCN with the dilation8 context module: class maps at an eighth, refined by wider and wider looks.

Source: Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions" (arXiv
1511.07122): the front end of section 4 and the basic context module of table 1, with the identity
initialisation of its equation 4.

What differs from the paper:
- The front end is VGG-16 at an eighth of its width, with 3x3 in place of the 7x7 of fc6: the whole
  network is to be of CGNet's size.
- Nothing is pretrained, so the front end has batch norm: VGG does not learn from scratch without.
- Borders are padded with zeros at every layer, not by reflecting the picture.

B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from pipeline.learning.operators import upsample

_WIDTH = 8
_CONTEXT_DILATIONS = (1, 1, 2, 4, 8, 16, 1)


def _front_end() -> Iterator[nn.Module]:
    """Give VGG-16 without its last two poolings; dilation takes their place."""
    w = _WIDTH
    inputs = 3
    for width, convs, pools, dilation in (
        (w, 2, True, 1),
        (2 * w, 2, True, 1),
        (4 * w, 3, True, 1),
        (8 * w, 3, False, 1),
        (8 * w, 3, False, 2),
        (16 * w, 1, False, 4),  # fc6
    ):
        for _ in range(convs):
            yield nn.Conv2d(inputs, width, 3, padding=dilation, dilation=dilation, bias=False)
            yield nn.BatchNorm2d(width)
            yield nn.ReLU()
            inputs = width
        if pools:
            yield nn.MaxPool2d(2, ceil_mode=True)
    yield nn.Conv2d(inputs, inputs, 1, bias=False)  # fc7
    yield nn.BatchNorm2d(inputs)
    yield nn.ReLU()


def context_module(num_classes: int) -> nn.Sequential:
    """Return seven dilated 3x3 convolutions and a 1x1; new, they pass class maps on."""
    k = num_classes
    layers: list[nn.Module] = []
    for dilation in _CONTEXT_DILATIONS:
        layers += [nn.Conv2d(k, k, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    module = nn.Sequential(*layers, nn.Conv2d(k, k, 1))
    for name, parameter in module.named_parameters():
        if name.endswith("weight"):
            nn.init.dirac_(parameter)
        else:
            nn.init.zeros_(parameter)
    return module


class FCNDilation8(nn.Module):
    """Maps (B, 3, H, W) normalised pictures of any size to (B, K, H, W) logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.front_end = nn.Sequential(*_front_end())
        self.classifier = nn.Conv2d(16 * _WIDTH, num_classes, 1)
        self.context = context_module(num_classes)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        logits = self.context(self.classifier(self.front_end(image_BCHW)))
        return upsample(logits, image_BCHW.shape[2:])
