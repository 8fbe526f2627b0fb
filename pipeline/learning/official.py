"""The authors' published weights (.pth) as a network of this program."""

import re
from collections.abc import Mapping

from torch import Tensor

from pipeline.core.architecture import Architecture
from pipeline.core.cost import count_parameters
from pipeline.core.errors import DataError, UsageError, one_line
from pipeline.learning.cgnet import CGNet
from pipeline.learning.saved import load_saved
from pipeline.learning.weights import Deployment, pack_weights
from pipeline.sources.camvid import CAMVID_CLASSES
from pipeline.sources.cityscapes import CITYSCAPES_CLASSES

# Classes and mean colour by number of classes. The means are the authors' (dataset/*.py), of
# blue, green and red; they are subtracted from 0..255 and nothing is divided by.
_PUBLISHED = {
    11: (CAMVID_CLASSES, (105.66, 103.33, 99.63)),
    19: (CITYSCAPES_CLASSES, (72.39, 82.91, 73.16)),
}

# What weights that are not the authors' can make the code below raise.
_NO_CGNET = (
    AttributeError,
    KeyError,
    RuntimeError,
    TypeError,
    UsageError,
    ValueError,
    ZeroDivisionError,
)

# The authors' module names, outermost first, and ours.
_OFFICIAL_NAMES = (
    (r"^level1_(\d)\.", r"stem.\1."),
    (r"^b1\.", "fuse_1."),
    (r"^bn_prelu_([23])\.", r"fuse_\1."),
    (r"^level([23])_0\.", r"stage_\1.down."),
    (r"^level([23])\.", r"stage_\1.blocks."),
    (r"^classifier\.(\d\.)?conv\.", "classifier."),
    (r"\.conv1x1\.", ".entry."),
    (r"\.F_loc\.conv\.", ".context.local."),
    (r"\.F_sur\.conv\.", ".context.surround."),
    (r"\.bn_prelu\.", ".context.joint."),
    (r"\.down\.(bn|act)\.", r".down.context.joint.\1."),
    (r"\.reduce\.conv\.", ".reduce."),
    (r"\.F_glo\.fc\.0\.", ".gate.squeeze."),
    (r"\.F_glo\.fc\.2\.", ".gate.excite."),
    (r"\.bn\.", ".norm."),
)


def official_weights(content: bytes, *, quirk: bool) -> bytes:
    """Return the authors' weights as a weights file of this program.

    Args:
        content: of their .pth file, for CamVid (11 classes) or Cityscapes (19).
        quirk: subtract the means as their code does, blue's from red and red's from blue, which
            the published weights were trained with; else each channel's own.

    Raises:
        DataError: it is no such file, or reading it would run code.
    """
    state = _read(content)
    try:
        architecture = _architecture(state)
        if count_parameters(architecture) > len(content):
            raise ValueError("it has fewer bytes than such a network has weights")
        model = CGNet(architecture)
        load_official_state_dict(model, state)
    except _NO_CGNET as cause:
        reason = one_line(cause)
        raise DataError(f"the .pth file holds no CGNet of the authors ({reason})") from cause
    if architecture.num_classes not in _PUBLISHED:
        raise DataError(
            f"the .pth file has {architecture.num_classes} classes; the authors published weights "
            "of 11 (CamVid) and 19 (Cityscapes)"
        )
    classes, (blue, green, red) = _PUBLISHED[architecture.num_classes]
    mean = (blue, green, red) if quirk else (red, green, blue)
    deployment = Deployment(architecture, mean, (1.0, 1.0, 1.0), classes.names, classes.palette)
    return pack_weights(model, deployment)


def _read(content: bytes) -> Mapping[str, Tensor]:
    saved = load_saved(content, "the .pth file")
    try:
        state = saved.get("model", saved)  # their training wraps it
        return {str(key).removeprefix("module."): value for key, value in state.items()}
    except (AttributeError, TypeError) as cause:
        raise DataError(f"the .pth file cannot be read as weights alone ({cause})") from cause


def _architecture(state: Mapping[str, Tensor]) -> Architecture:
    """Return what the shapes tell; dilations leave no trace in them and are the paper's."""
    (classifier,) = (value for key, value in state.items() if key.startswith("classifier."))
    widths = tuple(
        len(state[f"{name}.conv.weight"])
        for name in ("level1_0", "level2_0.conv1x1", "level3_0.conv1x1")
    )
    return Architecture(
        num_classes=len(classifier),
        num_blocks_2=_num_blocks(state, 2),
        num_blocks_3=_num_blocks(state, 3),
        widths=(widths[0], widths[1], widths[2]),
        reduction_2=widths[1] // len(state["level2_0.F_glo.fc.0.weight"]),
        reduction_3=widths[2] // len(state["level3_0.F_glo.fc.0.weight"]),
    )


def _num_blocks(state: Mapping[str, Tensor], stage: int) -> int:
    found = (re.match(rf"level{stage}\.(\d+)\.", key) for key in state)
    return 1 + len({match[1] for match in found if match})


def load_official_state_dict(model: CGNet, state: Mapping[str, Tensor]) -> None:
    """Load weights that the authors' code saved.

    Args:
        model: built from the architecture the weights belong to.
        state: their state dict, with or without the ``module.`` of DataParallel, in the released
            spelling or the pre-release one (``classifier.conv``).

    Raises:
        RuntimeError: keys or shapes are not those of this architecture.
    """
    renamed = {_our_name(key): value for key, value in state.items()}
    # Weights from before PyTorch 0.4.1 do not count batches; the count changes no output.
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    model.load_state_dict(counters | renamed)


def _our_name(official: str) -> str:
    name = official.removeprefix("module.")
    for pattern, replacement in _OFFICIAL_NAMES:
        name = re.sub(pattern, replacement, name)
    return name
