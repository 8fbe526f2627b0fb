"""The ONNX graph gives what the network gives, at any size, and another's is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import pipeline
from pipeline.core.architecture import Architecture
from pipeline.core.errors import DataError
from pipeline.learning import onnx_export
from pipeline.learning.cgnet import CGNet
from pipeline.learning.onnx_export import OnnxNetwork, check_onnx, export_onnx, onnx_timing
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import Deployment

ARCHITECTURE = Architecture(  # with a dilation that is computed in a way of its own outside a graph
    3, num_blocks_2=1, num_blocks_3=2, widths=(4, 8, 16), reduction_3=8, dilations_3=(4, 8)
)


def segmenter_of(seed: int) -> Segmenter:
    torch.manual_seed(seed)
    model = CGNet(ARCHITECTURE)
    model.train()(torch.randn(2, 3, 32, 32))
    palette = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    mean, std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    return Segmenter(model.eval(), Deployment(ARCHITECTURE, mean, std, ("a", "b", "c"), palette))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return segmenter_of(1)


@pytest.fixture(scope="module")
def exported(segmenter: Segmenter) -> OnnxNetwork:
    return export_onnx(segmenter)


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 33, 47), (1, 96, 128)])
def test_any_batch_and_size_is_labelled_as_by_torch(
    segmenter: Segmenter, exported: OnnxNetwork, size: tuple[int, int, int]
) -> None:
    images = np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(exported.content, providers=["CPUExecutionProvider"])
    logits, labels = session.run(["logits", "labels"], {"image": images})

    assert (logits.shape, logits.dtype) == ((size[0], 3, *size[1:]), np.float32)
    assert (labels.shape, labels.dtype) == (size, np.uint8)
    assert (labels == segmenter.label(images)).mean() > 0.999


def test_the_file_says_what_its_outputs_mean(exported: OnnxNetwork) -> None:
    notes = {p.key: p.value for p in onnx.load_from_string(exported.content).metadata_props}

    assert json.loads(notes["class_names"]) == ["a", "b", "c"]
    assert json.loads(notes["palette"]) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_the_file_holds_no_path_of_this_machine(exported: OnnxNetwork) -> None:
    for path in (Path(pipeline.__file__).parents[1], Path(torch.__file__).parent):
        assert str(path).encode() not in exported.content


def test_the_difference_that_was_seen_is_told(exported: OnnxNetwork, segmenter: Segmenter) -> None:
    assert 0 <= exported.difference <= 1e-4
    assert check_onnx(exported.content, segmenter) == pytest.approx(exported.difference, abs=1e-6)


def test_a_graph_of_another_network_is_refused(exported: OnnxNetwork) -> None:
    with pytest.raises(DataError, match="differs from the network"):
        check_onnx(exported.content, segmenter_of(2))


class _AsThePictureIs(nn.Module):
    def forward(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW if image_BCHW.sum() > 0 else -image_BCHW


def test_what_has_no_graph_is_told_in_one_line(segmenter: Segmenter) -> None:
    with pytest.raises(DataError, match=r"^no ONNX graph of the network: .+$"):
        export_onnx(Segmenter(_AsThePictureIs(), segmenter.deployment))


def test_a_graph_that_onnxruntime_refuses_is_told_in_one_line(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = onnx.helper.make_node("Unheard", ["image"], ["logits"])
    picture = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1])
    graph = onnx.helper.make_graph([unknown], "g", [picture], [])
    monkeypatch.setattr(onnx_export, "_trace", lambda _: onnx.helper.make_model(graph))

    with pytest.raises(DataError, match=r"^no ONNX graph of the network: .*Unheard"):
        export_onnx(segmenter)


def test_it_can_be_timed(exported: OnnxNetwork) -> None:
    timing = onnx_timing(exported, 16, 24, threads=1)

    assert 0 < timing.fast_s <= timing.median_s <= timing.slow_s
