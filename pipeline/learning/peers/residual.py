"""What the peers with a residual network in them are made of.

Source: He et al., "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), figure 5 left:
the block of two 3x3 convolutions, which is the cheaper one where channels are few.

B batch, C channels, H height, W width.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Return a convolution without bias that keeps the size (over the stride), and batch norm."""
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, **options: int) -> nn.Sequential:
    """Return the same with a ReLU behind it."""
    return nn.Sequential(*conv_norm(inputs, outputs, kernel, **options), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 one where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *conv_norm(inputs, outputs, stride=stride, dilation=dilation),
            nn.ReLU(),
            *conv_norm(outputs, outputs, dilation=dilation),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride=stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.shortcut(x_BCHW) + self.branch(x_BCHW))


def residual_stage(
    inputs: int, outputs: int, *, stride: int = 1, dilations: Sequence[int] = (1, 1)
) -> nn.Sequential:
    """Return one block for each dilation; the first has the stride."""
    strides = (stride, *(1,) * (len(dilations) - 1))
    return nn.Sequential(
        *(
            ResidualBlock(inputs if i == 0 else outputs, outputs, stride=stride, dilation=dilation)
            for i, (stride, dilation) in enumerate(zip(strides, dilations, strict=True))
        )
    )
