"""What people write for counts and picture sizes, and the words that are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UsageError
from pipeline.core.units import (
    format_count,
    format_duration,
    parse_count,
    parse_duration,
    parse_shard_size,
    parse_size,
)

COUNTS = st.integers(min_value=1, max_value=10**15)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0.5M", 500_000),
        (".5M", 500_000),
        ("500k", 500_000),
        ("500K", 500_000),
        ("0.5m", 500_000),
        ("1.5k", 1_500),
        ("2G", 2_000_000_000),
        ("496306", 496_306),
        ("1_000", 1_000),
        ("496,306", 496_306),
        ("  500 k ", 500_000),
        ("0.496306M", 496_306),
        ("1", 1),
        ("1.0", 1),
    ],
)
def test_a_count_is_read_as_people_write_it(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "nan",
        "inf",
        "-1",
        "+1",
        "0",
        "0k",
        "1.5",
        "0.5.5M",
        "0.0001k",
        ".",
        "k",
        "5T",
        "1e6",
        "1_00",
        "_1",
        "1 000",
        "5kk",
        "0x10",
    ],
)
def test_a_word_that_is_no_count_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_count(text)

    assert repr(text) in str(caught.value)


@given(COUNTS)
def test_the_digits_of_a_count_give_it_back(count: int) -> None:
    assert parse_count(str(count)) == count


@given(COUNTS)
def test_grouped_digits_give_the_count_back(count: int) -> None:
    assert (parse_count(f"{count:,}"), parse_count(f"{count:_}")) == (count, count)


@given(COUNTS)
def test_a_count_in_millions_loses_no_digit(count: int) -> None:
    assert parse_count(f"{count // 10**6}.{count % 10**6:06d}M") == count


@pytest.mark.parametrize(
    ("count", "text"),
    [(27, "27"), (999, "999"), (494_258, "494.3k"), (1_500_000, "1.5M"), (2 * 10**9, "2G")],
)
def test_a_count_is_shown_short(count: int, text: str) -> None:
    assert format_count(count) == text


@given(COUNTS.filter(lambda count: count < 10**12))
def test_a_count_is_shown_in_at_most_four_digits(count: int) -> None:
    assert sum(character.isdigit() for character in format_count(count)) <= 4


@pytest.mark.parametrize(
    ("text", "size"),
    [("120x160", (120, 160)), ("360X480", (360, 480)), (" 8x8 ", (8, 8)), ("9x1000", (9, 1000))],
)
def test_a_size_is_height_then_width(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "120", "120x", "x160", "7x160", "160x7", "-8x8", "8.5x8", "8x8x8", "8 x 8"]
)
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)

    assert repr(text) in str(caught.value)


@given(st.integers(8, 10_000), st.integers(8, 10_000))
def test_a_size_that_is_written_reads_back(height: int, width: int) -> None:
    assert parse_size(f"{height}x{width}") == (height, width)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("0.5H", 1800), ("1h1s", 3601)],
)
def test_a_duration_is_its_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2d", "30m1h", "-1h", "0s", "1.2.3h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (600, "10 min")])
def test_a_duration_is_told_in_the_unit_that_suits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("64", 64, "samples"),
        ("1k", 1000, "samples"),
        ("32MB", 32_000_000, "bytes"),
        ("32 mb", 32_000_000, "bytes"),
        ("1.5GB", 1_500_000_000, "bytes"),
        ("500kB", 500_000, "bytes"),
    ],
)
def test_a_shard_size_is_of_samples_or_of_bytes(text: str, amount: int, unit: str) -> None:
    size = parse_shard_size(text)

    assert (size.amount, size.unit) == (amount, unit)


@pytest.mark.parametrize("text", ["", "MB", "B", "0", "0MB", "-1", "64 images", "32MiB", "1.5"])
def test_what_is_no_shard_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a shard size: write samples"):
        parse_shard_size(text)
