"""Counts and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UsageError
from pipeline.core.units import format_count, parse_count, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5M", 500_000),
        ("500k", 500_000),
        ("500K", 500_000),
        ("500 k", 500_000),
        ("496306", 496_306),
        ("1_000", 1_000),
        ("1,000", 1_000),
        ("1_234_567", 1_234_567),
        (".5M", 500_000),
        ("0.494258m", 494_258),
        ("2G", 2_000_000_000),
        (" 7 ", 7),
        ("1", 1),
    ],
)
def test_a_count_is_read_as_people_write_it(text: str, expected: int) -> None:
    assert parse_count(text) == expected


@pytest.mark.parametrize(
    "text",
    ["abc", "-1", "0", "0M", "1.5", "0.5.5M", "", " ", "nan", "inf", "1e6", "5MM", "M", "1__000"]
    + ["1_00", "10_0000", "0.0001k", "1.", "+5", "0x10"],
)
def test_a_word_that_is_no_count_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_count(text)

    assert repr(text) in str(caught.value)


@given(st.integers(1, 10**15))
def test_a_count_printed_plainly_reads_back_equal(count: int) -> None:
    assert parse_count(str(count)) == count


@given(st.integers(1, 10**15))
def test_a_count_printed_in_groups_of_three_reads_back_equal(count: int) -> None:
    assert parse_count(f"{count:,}") == parse_count(f"{count:_}") == count


@given(st.integers(1, 10**9), st.integers(0, 5))
def test_a_fraction_of_a_million_is_exact(count: int, zeros: int) -> None:
    """Binary fractions would turn 0.494258M into 494257 now and then."""
    text = f"{count // 10**6}.{count % 10**6:06d}{'0' * zeros}M"

    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("count", "expected"),
    [(7, "7"), (999, "999"), (494_258, "494k"), (1_500_000, "1.500M"), (2_972_000_000, "2.972G")],
)
def test_a_count_is_shortened_for_people(count: int, expected: str) -> None:
    assert format_count(count) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("120x160", (120, 160)), ("360X480", (360, 480)), (" 8x9 ", (8, 9))],
)
def test_a_size_is_height_by_width(text: str, expected: tuple[int, int]) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "120", "120x", "x160", "7x160", "160x7", "-8x8", "8x8x8"])
def test_a_word_that_is_no_picture_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)

    assert repr(text) in str(caught.value)


@given(st.integers(8, 10_000), st.integers(8, 10_000))
def test_a_size_reads_back_equal(height: int, width: int) -> None:
    assert parse_size(f"{height}x{width}") == (height, width)
