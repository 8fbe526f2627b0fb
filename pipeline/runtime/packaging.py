"""A network as the files that travel: ONNX, safetensors, and a card that says what it is."""

from pipeline.learning.latency import footprint
from pipeline.learning.onnx_export import ONNX_FILE, export_onnx, onnx_timing
from pipeline.learning.weights import WEIGHTS_FILE
from pipeline.runtime.model_card import CARD_FILE, Export, card_size, model_card
from pipeline.runtime.networks import Network


def package(network: Network) -> dict[str, bytes]:
    """Return the files by name; its speed on this machine is measured for the card.

    Raises:
        DataError: ONNX does not give what torch gives.
    """
    onnx = export_onnx(network.segmenter)
    size = card_size(network.provenance)
    speed = footprint(network.weights, *size)
    exported = Export(network, onnx, speed, onnx_timing(onnx, *size, speed.threads))
    return {
        ONNX_FILE: onnx.content,
        WEIGHTS_FILE: network.weights,
        CARD_FILE: model_card(exported).encode(),
    }
