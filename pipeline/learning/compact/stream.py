"""How the blocks of a compacted network read from their stage's stream, and write to it.

B batch, C channels, S stream channels, H height, W width.

``index_select`` and ``index_add`` would say it, and in a graph they do; but what they give here is
not channels-last, nor is then all that follows.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.learning.compact.shape import BlockShape, Channels


class Select(nn.Module):
    """Some channels of its input, or all of them untouched."""

    def __init__(self, channels: Channels, inputs: int) -> None:
        super().__init__()
        self.whole = channels == tuple(range(inputs))
        self.register_buffer("index", torch.tensor(channels, dtype=torch.int64), persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.whole:
            return x_BCHW
        index_C = self.get_buffer("index")
        if torch.compiler.is_exporting():
            return x_BCHW.index_select(1, index_C)
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        return x_BHWC.gather(3, index_C.expand(*x_BHWC.shape[:3], -1)).permute(0, 3, 1, 2)


class Gate(nn.Module):
    """F_glo: the weight of each channel, and of each constant, by what the whole picture holds."""

    def __init__(self, channels: int, constants: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels + constants)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mean_BC = x_BCHW.sum(dim=(2, 3)) / (x_BCHW.shape[2] * x_BCHW.shape[3])  # as CGNet takes it
        return torch.sigmoid(self.excite(F.relu(self.squeeze(mean_BC))))


class Write(nn.Module):
    """Gate what a block computed and add it to the stream, or to nothing to open one."""

    def __init__(self, shape: BlockShape, width: int) -> None:
        super().__init__()
        self.width = width
        self.whole = shape.writes == tuple(range(width))
        channels = len(shape.writes)
        self.gate = Gate(channels, len(shape.lifts), shape.hidden) if shape.hidden else None
        self.lifts = nn.Parameter(torch.zeros(len(shape.lifts))) if shape.lifts else None
        for name, index in (("write_index", shape.writes), ("lift_index", shape.lifts)):
            self.register_buffer(name, torch.tensor(index, dtype=torch.int64), persistent=False)

    def forward(self, y_BCHW: Tensor, stream_BSHW: Tensor | None) -> Tensor:
        batch, channels, height, width = y_BCHW.shape
        shift_BS = None
        if self.gate is not None:
            gate_BC = self.gate(y_BCHW)
            gate_BC11 = gate_BC[:, :channels, None, None]
            if self.whole and self.lifts is None and stream_BSHW is not None:
                return torch.addcmul(stream_BSHW, y_BCHW, gate_BC11)
            y_BCHW = y_BCHW * gate_BC11
            if self.lifts is not None:
                shift_BS = y_BCHW.new_zeros(batch, self.width).index_add(
                    1, self.get_buffer("lift_index"), self.lifts * gate_BC[:, channels:]
                )
        if self.whole:
            return y_BCHW if stream_BSHW is None else stream_BSHW + y_BCHW
        if stream_BSHW is None:
            stream_BSHW = y_BCHW.new_zeros(batch, height, width, self.width).permute(0, 3, 1, 2)
        if shift_BS is not None:
            stream_BSHW = stream_BSHW + shift_BS[:, :, None, None]
        index_C = self.get_buffer("write_index")
        if torch.compiler.is_exporting():
            return stream_BSHW.index_add(1, index_C, y_BCHW)
        stream_BHWS, y_BHWC = stream_BSHW.permute(0, 2, 3, 1), y_BCHW.permute(0, 2, 3, 1)
        if torch.is_grad_enabled():  # which may want the stream as it was
            stream_BHWS = stream_BHWS.clone()
        stream_BHWS.scatter_add_(3, index_C.expand(y_BHWC.shape), y_BHWC)
        return stream_BHWS.permute(0, 3, 1, 2)
