"""The genotype: what is equal, what is refused, what is written."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.architecture import Architecture
from pipeline.core.errors import UsageError

DEFAULT_ID = "ce8b2bbafd"  # stored in studies: a change makes every stored study unreadable

PATTERNS = st.lists(st.integers(1, 8), min_size=1, max_size=4).map(tuple)
ARCHITECTURES = st.builds(
    Architecture,
    num_classes=st.integers(1, 30),
    num_blocks_2=st.integers(1, 5),
    num_blocks_3=st.integers(1, 5),
    widths=st.tuples(st.integers(2, 40), st.integers(2, 20).map(lambda n: 2 * n), st.just(64)),
    dilations_2=PATTERNS,
    dilations_3=PATTERNS,
    reduction_2=st.integers(1, 4),
    reduction_3=st.integers(1, 64),
)


def test_the_defaults_are_the_papers_network() -> None:
    a = Architecture()

    assert (a.num_blocks_2, a.num_blocks_3, a.widths) == (3, 21, (32, 64, 128))
    assert (set(a.block_dilations_2), set(a.block_dilations_3)) == ({2}, {4})
    assert (a.reduction_2, a.reduction_3) == (8, 16)


def test_a_pattern_repeats_over_the_blocks_from_the_first() -> None:
    a = Architecture(num_blocks_2=2, num_blocks_3=7, dilations_2=(4,), dilations_3=(1, 2, 4))

    assert a.block_dilations_2 == (4, 4)
    assert a.block_dilations_3 == (1, 2, 4, 1, 2, 4, 1)


def test_the_id_of_the_default_never_changes() -> None:
    assert Architecture().id == DEFAULT_ID


@pytest.mark.parametrize(
    ("one", "other"), [((1, 2), (1, 2, 1, 2)), ((2,), (2, 2)), ((1, 2, 4, 8), (1, 2, 4))]
)
def test_patterns_that_give_the_same_blocks_share_an_id(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    base = Architecture(num_blocks_2=3)

    assert replace(base, dilations_2=one).id == replace(base, dilations_2=other).id


def test_patterns_that_differ_on_the_last_block_differ_in_id() -> None:
    base = Architecture(num_blocks_2=4)

    assert replace(base, dilations_2=(1, 2, 4, 8)).id != replace(base, dilations_2=(1, 2, 4)).id


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 11},
        {"num_blocks_2": 4},
        {"num_blocks_3": 20},
        {"widths": (32, 64, 126)},
        {"widths": (30, 64, 128)},
        {"dilations_2": (4,)},
        {"dilations_3": (2,)},
        {"reduction_2": 16},
        {"reduction_3": 8},
    ],
    ids=str,
)
def test_another_network_has_another_id(change: dict[str, Any]) -> None:
    assert replace(Architecture(), **change).id != Architecture().id


def test_the_stages_are_not_interchangeable_in_the_id() -> None:
    one = Architecture(num_blocks_2=3, num_blocks_3=3, dilations_2=(2,), dilations_3=(4,))

    assert one.id != replace(one, dilations_2=(4,), dilations_3=(2,)).id


def test_an_id_is_ten_hex_digits() -> None:
    assert len(Architecture().id) == 10
    assert int(Architecture().id, 16) >= 0


@given(ARCHITECTURES)
def test_an_architecture_survives_json(architecture: Architecture) -> None:
    text = json.dumps(architecture.to_dict())

    assert Architecture.from_dict(json.loads(text)) == architecture


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (Architecture(), "M3 N21 d2-4 r8-16"),
        (
            Architecture(num_blocks_2=1, dilations_3=(1, 2, 4), widths=(8, 16, 32)),
            "M1 N21 d2-1.2.4 r8-16 w8-16-32",
        ),
    ],
)
def test_a_label_names_what_was_chosen(architecture: Architecture, expected: str) -> None:
    assert architecture.label == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_classes", 0),
        ("num_blocks_2", 0),
        ("num_blocks_3", -1),
        ("dilations_2", ()),
        ("dilations_3", (1, 0)),
        ("widths", (32, 64)),
        ("widths", (32, 63, 128)),
        ("widths", (32, 64, 127)),
        ("widths", (0, 64, 128)),
        ("reduction_2", 0),
        ("reduction_2", 65),
        ("reduction_3", 129),
    ],
)
def test_what_cannot_be_built_is_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        replace(Architecture(), **{field: value})


def test_a_reduction_to_one_hidden_channel_is_the_last_allowed() -> None:
    a = Architecture(reduction_2=64, reduction_3=128)

    assert (a.widths[1] // a.reduction_2, a.widths[2] // a.reduction_3) == (1, 1)
