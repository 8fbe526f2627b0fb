"""The id of an architecture, its JSON, and what it refuses."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.core.architecture import SWITCHES, Architecture
from pipeline.core.errors import UsageError
from pipeline.learning.cgnet import CGNet, ResidualBlock

PATTERNS = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)

# What can hide the value of another field, so that two draws may build the same network.
HIDING = {name: st.sampled_from(SWITCHES[name]) for name in ("surround", "global_context")}
ONE_SWITCH = [(name, value) for name, values in SWITCHES.items() for value in values[1:]]

# Few values, so that two draws often build the same network.
SMALL = st.builds(
    Architecture,
    num_classes=st.just(2),
    num_blocks_2=st.integers(1, 2),
    num_blocks_3=st.integers(1, 2),
    residual=st.sampled_from(["global", "local"]),
    **HIDING,
    widths=st.just((4, 8, 16)),
    dilations_2=st.lists(st.integers(1, 2), min_size=1, max_size=3).map(tuple),
    dilations_3=st.just((4,)),
    reduction_2=st.sampled_from([4, 8]),
    reduction_3=st.just(8),
)


@st.composite
def any_architecture(draw: st.DrawFn) -> Architecture:
    widths = (draw(st.integers(2, 64)), *(2 * draw(st.integers(1, 64)) for _ in range(2)))
    return Architecture(
        num_classes=draw(st.integers(1, 40)),
        num_blocks_2=draw(st.integers(1, 8)),
        num_blocks_3=draw(st.integers(1, 30)),
        widths=widths,
        dilations_2=draw(PATTERNS),
        dilations_3=draw(PATTERNS),
        reduction_2=draw(st.integers(1, widths[1])),
        reduction_3=draw(st.integers(1, widths[2])),
        **{name: draw(st.sampled_from(values)) for name, values in SWITCHES.items()},
    )


def layers(architecture: Architecture) -> list[tuple[Any, ...]]:
    """Return name, shape and dilation of every layer with weights, and the kind of the rest."""
    with torch.device("meta"):
        model = CGNet(architecture)
    found: list[tuple[Any, ...]] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            found.append((name, tuple(module.weight.shape), getattr(module, "dilation", None)))
        elif isinstance(module, nn.PReLU | nn.ReLU):
            found.append((name, type(module)))
        elif isinstance(module, ResidualBlock):
            found.append((name, module.residual))
    return found


def test_the_defaults_are_the_papers_m3n21() -> None:
    default = Architecture()

    assert default == Architecture(
        num_classes=19,
        num_blocks_2=3,
        num_blocks_3=21,
        widths=(32, 64, 128),
        dilations_2=(2,),
        dilations_3=(4,),
        reduction_2=8,
        reduction_3=16,
        surround="full",
        global_context=True,
        input_injection=True,
        activation="prelu",
        residual="global",
        pointwise=False,
    )


def test_the_first_setting_of_a_switch_is_the_papers() -> None:
    settings = {name: getattr(Architecture(), name) for name in SWITCHES}

    assert settings == {name: values[0] for name, values in SWITCHES.items()}


def test_the_id_of_the_default_never_changes() -> None:
    """Studies and checkpoints on disk carry this id."""
    assert Architecture().id == "638c2ee861"


def test_json_from_before_there_were_switches_is_still_what_is_written() -> None:
    old = {
        "num_classes": 19,
        "num_blocks_2": 3,
        "num_blocks_3": 21,
        "widths": [32, 64, 128],
        "dilations_2": [2],
        "dilations_3": [4],
        "reduction_2": 8,
        "reduction_3": 16,
    }

    assert Architecture.from_dict(old) == Architecture()
    assert Architecture().to_dict() == old


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"dilations_2": (1, 2), "num_blocks_2": 4}, {"dilations_2": (1, 2, 1, 2)}),
        ({"dilations_2": (2,), "num_blocks_2": 4}, {"dilations_2": (2, 2)}),
        ({"dilations_2": (1,), "num_blocks_2": 1}, {"dilations_2": (1, 4)}),
        ({"dilations_3": (4,), "num_blocks_3": 2}, {"dilations_3": (4, 4, 8)}),
        ({"surround": "none"}, {"dilations_2": (8,), "dilations_3": (1, 2)}),
        ({"surround": "none"}, {"surround": "full", "dilations_2": (1,), "dilations_3": (1,)}),
        ({"surround": "last"}, {"dilations_2": (8,), "dilations_3": (4, 2)}),
        ({"global_context": False}, {"reduction_2": 4, "reduction_3": 4}),
        ({"num_blocks_2": 1, "num_blocks_3": 1}, {"residual": "local"}),
    ],
)
def test_two_names_of_one_network_share_its_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    first = Architecture(**one)

    assert first.id == replace(first, **other).id


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 11},
        {"num_blocks_2": 4},
        {"num_blocks_3": 20},
        {"widths": (32, 64, 126)},
        {"dilations_2": (4,)},
        {"dilations_2": (2, 1)},
        {"dilations_3": (4, 4, 2)},
        {"reduction_2": 16},
        {"reduction_3": 8},
        *({name: value} for name, value in ONE_SWITCH),
    ],
)
def test_a_change_to_the_network_changes_the_id(change: dict[str, Any]) -> None:
    assert Architecture(**change).id != Architecture().id


def test_the_stages_are_told_apart_by_the_id() -> None:
    one = Architecture(num_blocks_2=3, num_blocks_3=3, dilations_2=(2,), dilations_3=(4,))

    assert one.id != replace(one, dilations_2=(4,), dilations_3=(2,)).id


@settings(deadline=None, max_examples=60)
@given(SMALL, SMALL)
def test_ids_are_equal_exactly_when_the_layers_are(one: Architecture, other: Architecture) -> None:
    assert (one.id == other.id) == (layers(one) == layers(other))


def test_reductions_that_give_one_hidden_width_share_the_id() -> None:
    one = Architecture(widths=(4, 8, 16), reduction_2=3, reduction_3=16)
    other = replace(one, reduction_2=4)
    assert layers(one) == layers(other)

    assert one.id == other.id


def test_a_pattern_repeats_over_the_blocks_of_its_stage() -> None:
    architecture = Architecture(num_blocks_2=5, dilations_2=(1, 2, 4), num_blocks_3=2)

    assert architecture.block_dilations_2 == (1, 2, 4, 1, 2)
    assert architecture.block_dilations_3 == (4, 4)


@given(any_architecture())
def test_json_gives_the_architecture_back(architecture: Architecture) -> None:
    text = json.dumps(architecture.to_dict())

    assert Architecture.from_dict(json.loads(text)) == architecture


@given(any_architecture())
def test_an_id_is_ten_hex_digits(architecture: Architecture) -> None:
    assert len(architecture.id) == 10
    assert set(architecture.id) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "M3 N21 d2-4 r8-16"),
        ({"dilations_2": (1, 2, 4), "num_blocks_2": 5}, "M5 N21 d1.2.4-4 r8-16"),
        ({"widths": (8, 16, 32)}, "M3 N21 d2-4 r8-16 w8-16-32"),
        ({"surround": "last"}, "M3 N21 d2-4 r8-16 surround=last"),
        (
            {"global_context": False, "pointwise": True},
            "M3 N21 d2-4 r8-16 global_context=off pointwise=on",
        ),
    ],
)
def test_the_label_names_what_varies(fields: dict[str, Any], label: str) -> None:
    assert Architecture(**fields).label == label


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"num_blocks_2": 0}, "num_blocks_2"),
        ({"num_blocks_3": -1}, "num_blocks_3"),
        ({"dilations_2": ()}, "dilations_2"),
        ({"dilations_2": (1, 0)}, "dilations_2"),
        ({"dilations_3": (-4,)}, "dilations_3"),
        ({"widths": (32, 64)}, "widths"),
        ({"widths": (32, 63, 128)}, "widths"),
        ({"widths": (32, 64, 127)}, "widths"),
        ({"widths": (1, 64, 128)}, "widths"),
        ({"widths": (32, 0, 128)}, "widths"),
        ({"reduction_2": 0}, "reduction_2"),
        ({"reduction_2": 65}, "reduction_2"),
        ({"reduction_3": 129}, "reduction_3"),
        ({"surround": "some"}, "surround must be one of full, last, none, got 'some'"),
        ({"global_context": "yes"}, "global_context must be one of on, off"),
        ({"activation": "gelu"}, "activation"),
    ],
)
def test_what_cannot_be_built_is_refused_by_field(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Architecture(**fields)


@settings(deadline=None, max_examples=20)
@given(any_architecture())
def test_what_is_not_refused_can_be_built(architecture: Architecture) -> None:
    stages = layers(replace(architecture, num_blocks_3=1))

    assert stages[-1][1] == (architecture.num_classes, 2 * architecture.widths[2], 1, 1)
