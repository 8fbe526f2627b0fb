"""Search spaces: counted, ordered, cut and looked up without a training."""

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.cost import count_parameters
from pipeline.core.errors import UsageError
from pipeline.core.space import Pool, SearchSpace, Value, load_space, space_names


@pytest.fixture(scope="module")
def cgnet() -> Pool:
    return load_space("cgnet").pool(num_classes=11)


@pytest.fixture(scope="module")
def smoke() -> Pool:
    return load_space("smoke").pool(num_classes=4)


def sample(pool: Pool, count: int = 300) -> list[int]:
    draw = np.random.default_rng(0)
    return sorted({0, len(pool) - 1, *draw.integers(len(pool), size=count).tolist()})


def tiny_space(**choices: tuple[Value, ...]) -> SearchSpace:
    return SearchSpace("tiny", {"widths": ((8, 16, 32),), **choices})


def test_the_cgnet_space_has_this_many_networks(cgnet: Pool) -> None:
    assert len(cgnet) == 70_080


def test_the_cgnet_space_has_this_many_networks_within_half_a_million(cgnet: Pool) -> None:
    assert len(cgnet.within(500_000)) == 42_240


def test_the_cgnet_space_holds_the_papers_network(cgnet: Pool) -> None:
    paper = {"num_blocks_2": 3, "num_blocks_3": 21, "dilations_2": "2", "dilations_3": "4"}
    row = cgnet.row(paper | {"reduction_2": 8, "reduction_3": 16})

    assert row is not None
    assert cgnet.architecture(row) == Architecture(num_classes=11)
    assert cgnet.num_params[row] == 494_258


def test_the_smoke_space_has_eight_different_networks(smoke: Pool) -> None:
    assert len({smoke.architecture(row).id for row in range(len(smoke))}) == len(smoke) == 8


@pytest.mark.parametrize("name", ["cgnet", "cgnet_wide"])
def test_different_rows_are_different_networks(name: str) -> None:
    pool = load_space(name).pool(num_classes=11)
    rows = sample(pool)

    assert len({pool.architecture(row).id for row in rows}) == len(rows)


def test_a_pool_is_sorted_by_size(cgnet: Pool) -> None:
    assert (np.diff(cgnet.num_params) >= 0).all()


@pytest.mark.parametrize("name", ["cgnet", "cgnet_wide", "smoke"])
def test_the_sizes_of_a_pool_are_those_of_its_networks(name: str) -> None:
    pool = load_space(name).pool(num_classes=11)
    rows = sample(pool, 100)

    assert pool.num_params[rows].tolist() == [
        count_parameters(pool.architecture(row)) for row in rows
    ]


def test_a_budget_of_the_smallest_network_is_enough_for_it(smoke: Pool) -> None:
    smallest = int(smoke.num_params[0])

    assert set(smoke.within(smallest).num_params.tolist()) == {smallest}


def test_a_budget_below_the_smallest_network_is_refused_with_its_size(smoke: Pool) -> None:
    smallest = int(smoke.num_params[0])

    with pytest.raises(UsageError) as caught:
        smoke.within(smallest - 1)

    assert f"the smallest has {smallest:,}" in str(caught.value)
    assert smoke.architecture(0).label in str(caught.value)


def test_a_budget_keeps_exactly_what_is_no_larger(cgnet: Pool) -> None:
    budget = int(cgnet.num_params[len(cgnet) // 2])
    kept = cgnet.within(budget)

    assert kept.num_params.max() == budget
    assert len(kept) == int((cgnet.num_params <= budget).sum())


def test_the_labels_of_a_row_lead_back_to_it(cgnet: Pool) -> None:
    rows = sample(cgnet)

    assert [cgnet.row(cgnet.labels(row)) for row in rows] == rows


def test_rows_are_counted_anew_in_what_a_budget_keeps(cgnet: Pool) -> None:
    kept = cgnet.within(400_000)
    rows = sample(kept, 50)

    assert [kept.row(kept.labels(row)) for row in rows] == rows


def test_what_a_budget_cut_has_no_row(cgnet: Pool) -> None:
    assert cgnet.within(400_000).row(cgnet.labels(len(cgnet) - 1)) is None


def test_labels_lead_back_to_the_architecture(cgnet: Pool) -> None:
    for row in sample(cgnet, 50):
        assert cgnet.space.architecture(cgnet.labels(row), 11) == cgnet.architecture(row)


def test_a_pattern_is_labelled_by_its_rates() -> None:
    space = tiny_space(dilations_3=((2,), (1, 2, 4)))

    assert space.labels("dilations_3") == ("2", "1-2-4")


@pytest.mark.parametrize(
    "labels",
    [
        {"widths": "8-16-32"},
        {"widths": "8-16-32", "num_blocks_2": 9},
        {"widths": "8-16-33", "num_blocks_2": 1},
    ],
    ids=str,
)
def test_labels_that_name_nothing_are_refused(labels: Mapping[str, object]) -> None:
    with pytest.raises(UsageError, match="space tiny does not hold"):
        tiny_space(num_blocks_2=(1, 2)).architecture(labels, 4)


def test_a_pattern_longer_than_its_stage_is_left_out() -> None:
    space = tiny_space(num_blocks_2=(1, 2, 3), dilations_2=((2,), (1, 2, 4)))
    pool = space.pool(num_classes=4)

    assert [pool.architecture(row).dilations_2 for row in range(len(pool))] == [
        (2,),
        (2,),
        *((2,), (1, 2, 4)),
    ]


def test_what_a_space_does_not_name_keeps_its_default() -> None:
    pool = SearchSpace("tiny", {"num_blocks_2": (1, 2)}).pool(num_classes=19)

    assert pool.architecture(1) == Architecture(num_blocks_2=2)
    assert pool.column("num_blocks_3").tolist() == [21, 21]


def test_the_number_of_classes_enters_the_sizes() -> None:
    space = load_space("smoke")
    difference = space.pool(num_classes=5).num_params - space.pool(num_classes=4).num_params

    assert set(difference.tolist()) == {2 * 32}


def test_a_choice_of_no_known_field_is_refused() -> None:
    with pytest.raises(UsageError, match=r"depth is none of .*num_blocks_2"):
        SearchSpace("tiny", {"depth": (1, 2)})


def test_the_number_of_classes_is_no_choice() -> None:
    with pytest.raises(UsageError, match="num_classes is none of"):
        SearchSpace("tiny", {"num_classes": (4, 5)})


@pytest.mark.parametrize("values", [(), (1, 2, 1)], ids=str)
def test_a_choice_without_different_values_is_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="num_blocks_2 must list different values"):
        SearchSpace("tiny", {"num_blocks_2": values})


def test_an_unknown_space_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'cgnett': there are cgnet, cgnet_wide, smoke"):
        load_space("cgnett")


def test_every_space_bears_the_name_of_its_file() -> None:
    assert {name: load_space(name).name for name in space_names()} == {
        name: name for name in space_names()
    }


def test_core_and_the_spaces_load_no_heavy_library() -> None:
    """Or a mistyped option would cost a user the seconds that torch takes to load."""
    program = (
        "import importlib, pkgutil, sys, pipeline.core, search_spaces\n"
        "for package in (pipeline.core, search_spaces):\n"
        "    names = [m.name for m in pkgutil.iter_modules(package.__path__)]\n"
        "    assert names\n"
        "    for name in names:\n"
        "        importlib.import_module(f'{package.__name__}.{name}')\n"
        "print(*sorted({'torch', 'ray', 'mlflow', 'optuna', 'pyarrow'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""
