"""Search spaces: complete, without repetition, and cut to a budget exactly."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.architecture import SWITCHES, Architecture
from pipeline.core.cost import count_parameters
from pipeline.core.errors import UsageError
from pipeline.core.space import Pool, SearchSpace, load_space, space_names

HEAVY = {"torch", "ray", "mlflow", "optuna", "boto3", "pyarrow", "PIL", "tyro", "rich"}

IMPORT_CORE = """
import importlib, json, pkgutil, sys
import pipeline.core
for module in pkgutil.iter_modules(pipeline.core.__path__):
    importlib.import_module(f"pipeline.core.{module.name}")
from pipeline.core.space import load_space, space_names
for name in space_names():
    load_space(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture(scope="module")
def smoke() -> Pool:
    return load_space("smoke").pool(3)


@pytest.fixture(scope="module")
def cgnet() -> Pool:
    return load_space("cgnet").pool(11)


def sample(pool: Pool, count: int) -> list[int]:
    return np.random.default_rng(0).choice(len(pool), count, replace=False).tolist()


def test_the_smoke_space_holds_eight_different_networks(smoke: Pool) -> None:
    ids = {smoke.architecture(row).id for row in range(len(smoke))}

    assert (len(smoke), len(ids)) == (8, 8)


def test_the_cgnet_space_holds_70080_networks(cgnet: Pool) -> None:
    """M and dilations of stage 2: 3 x 8 + 6; of stage 3: 3 x 30 + 2 x 28; 16 reductions."""
    assert len(cgnet) == 30 * 146 * 16 == 70_080


def test_half_a_million_parameters_leave_42240_networks_of_cgnet(cgnet: Pool) -> None:
    assert len(cgnet.within(500_000)) == 42_240


def test_the_smallest_network_of_cgnet_has_242_thousand_parameters(cgnet: Pool) -> None:
    assert round(int(cgnet.num_params[0]) / 1000) == 242


def test_the_papers_network_is_in_the_cgnet_space_at_its_published_size(cgnet: Pool) -> None:
    row = cgnet.row(
        {
            "num_blocks_2": 3,
            "num_blocks_3": 21,
            "dilations_2": "2",
            "dilations_3": "4",
            "reduction_2": 8,
            "reduction_3": 16,
        }
    )

    assert row is not None
    assert cgnet.architecture(row) == Architecture(num_classes=11)
    assert cgnet.num_params[row] == 494_258


def test_networks_drawn_from_cgnet_are_all_different(cgnet: Pool) -> None:
    ids = {cgnet.architecture(row).id for row in sample(cgnet, 1000)}

    assert len(ids) == 1000


def test_short_networks_of_cgnet_are_all_different(cgnet: Pool) -> None:
    """Where stages are as short as patterns, one network could have two names."""
    short = cgnet.keep((cgnet.column("num_blocks_2") <= 3) & (cgnet.column("num_blocks_3") <= 3))
    ids = {short.architecture(row).id for row in range(len(short))}

    assert len(ids) == len(short) == 10 * 11 * 16


def test_a_pool_is_sorted_by_size(cgnet: Pool) -> None:
    assert (np.diff(cgnet.num_params) >= 0).all()


@pytest.mark.parametrize("name", ["ablation", "smoke", "cgnet", "cgnet_wide", "paper_grid"])
def test_the_sizes_of_a_pool_are_those_of_its_networks(name: str) -> None:
    pool = load_space(name).pool(11)
    rows = range(len(pool)) if len(pool) < 100 else sample(pool, 200)

    expected = [count_parameters(pool.architecture(row)) for row in rows]
    assert pool.num_params[list(rows)].tolist() == expected


@pytest.mark.parametrize("name", ["ablation", "smoke", "cgnet", "paper_grid"])
def test_the_labels_of_a_row_find_the_row(name: str) -> None:
    pool = load_space(name).pool(11)
    rows = range(len(pool)) if len(pool) < 100 else sample(pool, 200)

    assert [pool.row(pool.labels(row)) for row in rows] == list(rows)


def test_rows_are_counted_anew_in_what_a_budget_keeps(cgnet: Pool) -> None:
    cut = cgnet.within(400_000)
    rows = sample(cut, 100)

    assert [cut.row(cut.labels(row)) for row in rows] == rows


def test_labels_from_json_find_the_row(smoke: Pool) -> None:
    """Optuna's storage gives labels back as JSON does."""
    labels = json.loads(json.dumps(smoke.labels(5)))

    assert smoke.row(labels) == 5


def test_a_network_beyond_the_budget_has_no_row(smoke: Pool) -> None:
    largest = smoke.labels(len(smoke) - 1)
    cut = smoke.within(int(smoke.num_params[-1]) - 1)

    assert cut.row(largest) is None


def test_a_budget_of_the_smallest_size_leaves_the_smallest(smoke: Pool) -> None:
    smallest = int(smoke.num_params[0])
    cut = smoke.within(smallest)

    assert cut.num_params.tolist() == [smallest] * int((smoke.num_params == smallest).sum())


def test_a_budget_below_the_smallest_is_refused_with_the_smallest_named(smoke: Pool) -> None:
    smallest = int(smoke.num_params[0])

    with pytest.raises(UsageError) as caught:
        smoke.within(smallest - 1)

    assert f"{smallest:,}" in str(caught.value)
    assert smoke.architecture(0).label in str(caught.value)


@given(budget=st.integers(250_000, 800_000))
@settings(deadline=None, max_examples=20)
def test_a_budget_keeps_all_that_fit_and_nothing_else(cgnet: Pool, budget: int) -> None:
    cut = cgnet.within(budget)

    assert cut.num_params.tolist() == [n for n in cgnet.num_params.tolist() if n <= budget]


def test_a_pattern_longer_than_its_stage_is_left_out() -> None:
    space = SearchSpace("s", {"num_blocks_2": (1, 2, 3), "dilations_2": ((2,), (1, 2))})
    pool = space.pool(3)

    kept = sorted(
        (labels["num_blocks_2"], labels["dilations_2"])
        for labels in map(pool.labels, range(len(pool)))
    )
    assert kept == [(1, "2"), (2, "1-2"), (2, "2"), (3, "1-2"), (3, "2")]


def test_a_pattern_is_held_to_the_default_depth_when_depth_is_no_choice() -> None:
    space = SearchSpace("s", {"dilations_2": ((2,), (1, 2, 4), (1, 1, 2, 2))})
    pool = space.pool(3)

    assert {pool.labels(row)["dilations_2"] for row in range(len(pool))} == {"2", "1-2-4"}


@pytest.fixture(scope="module")
def switched() -> SearchSpace:
    """Every switch as a choice of its own, beside fields whose values some of them hide."""
    choices = {"num_blocks_3": (1, 2), "dilations_3": ((1,), (4,)), "reduction_3": (8, 16)}
    return SearchSpace("s", {**choices, **SWITCHES})


def test_a_space_of_all_switches_holds_each_network_once(switched: SearchSpace) -> None:
    """2 depths, 3 residuals, 8 of injection, activation and pointwise; then global context with
    2 reductions or without; then stage 2 seeing context with 2 patterns, or only the last block
    with 4 or none."""
    pool = switched.pool(11)
    ids = {pool.architecture(row).id for row in range(len(pool))}

    assert len(pool) == len(ids) == 2 * 3 * 8 * 3 * (2 + 1 + 1)


def test_a_space_of_all_switches_knows_its_sizes(switched: SearchSpace) -> None:
    pool = switched.pool(11)

    sizes = [count_parameters(pool.architecture(row)) for row in range(len(pool))]
    assert pool.num_params.tolist() == sizes == sorted(sizes)


# Values that switches hide, or that repeat each other once a switch is turned.
OVERLAPPING: dict[str, tuple[Any, ...]] = {
    "num_blocks_2": (1, 2),
    "num_blocks_3": (1, 3),
    "dilations_2": ((1,), (2,)),
    "dilations_3": ((4,), (1,), (1, 2, 4)),
    "reduction_2": (8, 7, 4),
    "reduction_3": (16, 8),
    "widths": ((8, 16, 32), (32, 64, 128)),
    **SWITCHES,
}


@given(st.sets(st.sampled_from(sorted(OVERLAPPING)), min_size=2, max_size=4))
@settings(max_examples=25)
def test_a_space_with_switches_holds_the_networks_of_its_product_once(names: set[str]) -> None:
    space = SearchSpace("s", {n: OVERLAPPING[n] for n in sorted({*names, "surround", "residual"})})
    product = [
        Architecture(num_classes=3, **dict(zip(space.choices, values, strict=True)))
        for values in itertools.product(*space.choices.values())
    ]
    pool = space.pool(3)

    ids = [pool.architecture(row).id for row in range(len(pool))]
    fitting = [
        a
        for a in product
        if len(a.dilations_2) <= a.num_blocks_2 and len(a.dilations_3) <= a.num_blocks_3
    ]
    assert sorted(ids) == sorted({a.id for a in fitting})


def test_variants_that_switches_make_equal_are_held_once() -> None:
    variants = {"off": {"surround": "none"}, "ones": {"dilations_2": (1,), "dilations_3": (1,)}}
    pool = SearchSpace("s", {"context": variants, "num_blocks_3": (2, 3)}).pool(3)

    assert [pool.labels(row)["context"] for row in range(len(pool))] == ["off", "off"]


def test_the_settings_of_a_switch_have_labels_for_people(switched: SearchSpace) -> None:
    assert switched.labels("global_context") == ("on", "off")
    assert switched.labels("residual") == ("global", "local", "none")


def test_the_ablation_turns_one_switch_at_a_time_at_two_depths() -> None:
    pool = load_space("ablation").pool(11)
    turned = [
        {"num_blocks_3": a.num_blocks_3}
        | {name: getattr(a, name) for name in SWITCHES if getattr(a, name) != SWITCHES[name][0]}
        for a in map(pool.architecture, range(len(pool)))
    ]

    one = [{}, *({name: value} for name, values in SWITCHES.items() for value in values[1:])]
    expected = [{"num_blocks_3": n} | switch for n in (15, 21) for switch in one]
    assert sorted(map(str, turned)) == sorted(map(str, expected))


@pytest.mark.parametrize("name", ["ablation", "cgnet", "cgnet_wide"])
def test_the_papers_network_is_found_in_the_spaces_that_hold_it(name: str) -> None:
    pool = load_space(name).pool(11)
    row = pool.row_of(Architecture(num_classes=11))

    assert row is not None
    assert pool.architecture(row) == Architecture(num_classes=11)


def test_a_network_that_a_space_does_not_hold_is_not_found(smoke: Pool, cgnet: Pool) -> None:
    assert smoke.row_of(Architecture(num_classes=3)) is None
    assert cgnet.row_of(Architecture(num_classes=11, activation="relu")) is None


def test_a_network_is_found_under_another_name_of_it(cgnet: Pool) -> None:
    row = cgnet.row_of(Architecture(num_classes=11, dilations_3=(4, 4)))

    assert row is not None
    assert cgnet.labels(row)["dilations_3"] == "4"


def test_variants_set_fields_together() -> None:
    variants = {"thin": {"widths": (8, 16, 32), "reduction_3": 8}, "paper": {}}
    space = SearchSpace("s", {"size": variants, "num_blocks_3": (2, 3)})
    pool = space.pool(5)

    thin = Architecture(num_classes=5, num_blocks_3=3, widths=(8, 16, 32), reduction_3=8)
    assert space.architecture({"size": "thin", "num_blocks_3": 3}, 5) == thin
    assert pool.row({"size": "thin", "num_blocks_3": 3}) == pool.row_of(thin)
    assert pool.num_params[pool.row_of(thin)] == count_parameters(thin)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"size": {"deep": {"depth": 3}}}, "depth is none of"),
        ({"size": {}}, "size must list"),
        ({"size": {"one": {"num_blocks_3": 1}}, "num_blocks_3": (1, 2)}, "two choices set num_bl"),
    ],
)
def test_variants_that_make_no_sense_are_refused(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SearchSpace("s", choices)


def test_labels_name_an_architecture() -> None:
    labels = {"num_blocks_2": 2, "num_blocks_3": 3, "dilations_3": "4", "widths": "8-16-32"}

    assert load_space("smoke").architecture(labels, num_classes=5) == Architecture(
        num_classes=5, num_blocks_2=2, num_blocks_3=3, dilations_3=(4,), widths=(8, 16, 32)
    )


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"num_blocks_2": 2, "num_blocks_3": 3, "dilations_3": "4"},
        {"num_blocks_2": 9, "num_blocks_3": 3, "dilations_3": "4", "widths": "8-16-32"},
        {"num_blocks_2": 2, "num_blocks_3": 3, "dilations_3": "8", "widths": "8-16-32"},
    ],
)
def test_labels_that_the_space_does_not_hold_are_refused(labels: dict[str, int | str]) -> None:
    with pytest.raises(UsageError, match="smoke"):
        load_space("smoke").architecture(labels, num_classes=5)


def test_a_choice_that_is_no_field_is_refused_with_the_fields_listed() -> None:
    with pytest.raises(UsageError, match=r"depth is none of .*num_blocks_2"):
        SearchSpace("s", {"depth": (1, 2)})


def test_the_classes_are_no_choice() -> None:
    with pytest.raises(UsageError, match="num_classes is none of"):
        SearchSpace("s", {"num_classes": (11, 19)})


@pytest.mark.parametrize("values", [(), (1, 1)])
def test_a_choice_without_or_with_repeated_values_is_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="num_blocks_2"):
        SearchSpace("s", {"num_blocks_2": values})


def test_the_spaces_of_the_package_are_listed() -> None:
    assert set(space_names()) == {"ablation", "cgnet", "cgnet_wide", "paper_grid", "smoke"}


@pytest.mark.parametrize("name", ["ablation", "smoke", "cgnet", "cgnet_wide", "paper_grid"])
def test_a_space_is_declared_under_its_own_name(name: str) -> None:
    assert load_space(name).name == name


def test_the_papers_grid_is_its_seven_networks() -> None:
    pool = load_space("paper_grid").pool(19)
    depths = {(a.num_blocks_2, a.num_blocks_3) for a in map(pool.architecture, range(len(pool)))}

    assert depths == {(3, 9), (3, 12), (6, 12), (3, 15), (6, 15), (3, 18), (3, 21)}
    assert len(pool) == 7


def test_a_file_of_the_users_is_a_space(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from pipeline.core.space import SearchSpace\n"
        'SPACE = SearchSpace("mine", {"num_blocks_2": (1, 2)})\n'
    )

    assert len(load_space(str(path)).pool(3)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SPACE = 3", "declares no SPACE"),
        ("x = 1", "declares no SPACE"),
        ("import nowhere_at_all", "does not run: ModuleNotFoundError"),
    ],
)
def test_a_file_that_declares_no_space_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)

    with pytest.raises(UsageError, match=f"mine.py {said}"):
        load_space(str(path))


@pytest.mark.parametrize("name", ["huge", "", "smoke.py", "../smoke"])
def test_an_unknown_space_is_refused_with_the_known_ones_listed(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_space(name)

    assert all(known in str(caught.value) for known in ("cgnet", "cgnet_wide", "smoke"))


def test_core_and_the_spaces_load_no_heavy_library() -> None:
    """The command line answers before torch, Ray, MLflow or Optuna are read."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_CORE], capture_output=True, text=True, check=True
    )

    loaded = set(json.loads(done.stdout))
    assert {"pipeline", "search_spaces", "numpy"} <= loaded
    assert not loaded & HEAVY
