"""A network as an ONNX graph, checked against torch before anyone gets it.

B batch, H height, W width, K classes.
"""

import json
import logging
import time
import warnings
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from pipeline.core.errors import DataError, one_line
from pipeline.learning.latency import Timing, any_pictures, timed
from pipeline.learning.normalisation import normalise
from pipeline.learning.segmenter import Segmenter

ONNX_FILE = "model.onnx"
TOLERANCE = 1e-4
_CHECKED_AT = ((1, 120, 160), (2, 97, 131))  # batch, height, width; the second fits no stride
_INPUT, _OUTPUTS = "image", ["logits", "labels"]


@dataclass(frozen=True)
class OnnxNetwork:
    """An ONNX file's content and how far its logits were from torch's.

    Attributes:
        content: of the file.
        opset: version of the operators it uses.
        difference: greatest absolute difference seen, relative to the greatest logit or 1.
    """

    content: bytes
    opset: int
    difference: float


class _Deployed(nn.Module):
    """From uint8 RGB pictures (B, H, W, 3), as they are decoded, to logits and class ids."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.model = segmenter.model
        self.mean, self.std = segmenter.deployment.mean, segmenter.deployment.std

    def forward(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Return float (B, K, H, W) and uint8 (B, H, W)."""
        logits = self.model(normalise(image_BHWC.permute(0, 3, 1, 2), self.mean, self.std))
        return logits, logits.argmax(dim=1).to(torch.uint8)


def export_onnx(segmenter: Segmenter) -> OnnxNetwork:
    """Return a network with its normalisation as ONNX, for any batch, height and width.

    Raises:
        DataError: it cannot be exported, or see ``check_onnx``.
    """
    try:
        graph = _describe(_trace(_Deployed(segmenter).eval()), segmenter)
        content = graph.SerializeToString()
        difference = check_onnx(content, segmenter)
    except DataError:
        raise
    except Exception as cause:  # the errors of onnxruntime have no base but this one
        raise DataError(f"no ONNX graph of the network: {one_line(cause)}") from cause
    return OnnxNetwork(content, graph.opset_import[0].version, difference)


def check_onnx(content: bytes, segmenter: Segmenter) -> float:
    """Return how far an ONNX file is from a network, on pictures of two sizes.

    Raises:
        DataError: further than ``TOLERANCE``.
    """
    deployed = _Deployed(segmenter).eval()
    difference = max(_difference(deployed, content, *size) for size in _CHECKED_AT)
    if not difference <= TOLERANCE:
        raise DataError(
            f"the ONNX graph differs from the network by {difference:.1e} of the greatest logit, "
            f"more than {TOLERANCE}: nothing is kept"
        )
    return difference


def onnx_timing(network: OnnxNetwork, height: int, width: int, threads: int) -> Timing:
    """Return how long onnxruntime takes on this machine's CPU, from picture to class ids."""
    session = _session(network.content, threads)
    picture = {_INPUT: any_pictures(1, height, width)}
    return timed(lambda: session.run(_OUTPUTS[1:], picture), time.perf_counter)


def _session(content: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _trace(deployed: _Deployed) -> onnx.ModelProto:
    example = torch.from_numpy(any_pictures(2, 48, 64))
    sizes = dict(enumerate(map(torch.export.Dim, ("batch", "height", "width"))))
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)  # it warns that torchvision, not needed, is not there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                deployed,
                (example,),
                dynamo=True,
                input_names=[_INPUT],
                output_names=_OUTPUTS,
                dynamic_shapes=(sizes,),
                verbose=False,
            )
    finally:
        exporter_log.setLevel(level)
    assert program is not None
    return program.model_proto


def _describe(graph: onnx.ModelProto, segmenter: Segmenter) -> onnx.ModelProto:
    """Say what the classes are, and drop the exporter's notes: they hold paths of this machine."""
    for part in (
        *graph.graph.node,
        *graph.graph.value_info,
        *graph.graph.input,
        *graph.graph.output,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    deployment = segmenter.deployment
    onnx.helper.set_model_props(
        graph,
        {
            "architecture": deployment.architecture.label,
            "class_names": json.dumps(deployment.class_names),
            "palette": json.dumps(deployment.palette),
        },
    )
    return graph


def _difference(deployed: _Deployed, content: bytes, batch: int, height: int, width: int) -> float:
    images = any_pictures(batch, height, width)
    with torch.inference_mode():
        expected = deployed(torch.from_numpy(images))[0].numpy()
    logits, labels = _session(content, torch.get_num_threads()).run(_OUTPUTS, {_INPUT: images})
    if not np.array_equal(labels, logits.argmax(axis=1)):
        return float("inf")
    return float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))
