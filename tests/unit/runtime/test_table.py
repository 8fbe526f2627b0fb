"""A table of trainings: read back as a pool of just these, and searched from the command line."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.cost import count_parameters
from pipeline.core.errors import DataError, UsageError
from pipeline.runtime.table import read_table
from pipeline.search import SearchOptions, search
from pipeline.search_options import ConfirmOptions, EffortOptions

ARCHITECTURES = [
    Architecture(11, num_blocks_3=n, dilations_3=d) for n in range(3, 21) for d in ((2,), (2, 4, 8))
]


def row(architecture: Architecture, seed: int, epoch: int) -> dict[str, Any]:
    mean_iou = 0.1 * epoch + 0.005 * architecture.num_blocks_3 + 0.001 * seed
    about = architecture.to_dict() | {"num_params": count_parameters(architecture), "macs": 1}
    about |= {"architecture": architecture.id, "seed": seed, "epoch": epoch, "mean_iou": mean_iou}
    return about | {"train_loss": 1.0, "train_s": 3.0, "val_s": 1.0}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    rows = [row(a, seed, e) for a in ARCHITECTURES for seed in (0, 1) for e in (3, 1, 2)]
    half = row(Architecture(11, num_blocks_3=30), 0, 1)
    pq.write_table(pa.Table.from_pylist([*rows, half]), path)
    return path


def test_the_pool_holds_the_architectures_that_were_trained_to_the_end(path: Path) -> None:
    pool = read_table(path).pool

    assert {pool.architecture(i).id for i in range(len(pool))} == {a.id for a in ARCHITECTURES}
    assert pool.num_params[0] == count_parameters(ARCHITECTURES[0])


def test_a_training_has_its_epochs_in_order(path: Path) -> None:
    for training in read_table(path).trainings[ARCHITECTURES[0].id]:
        assert [result.epoch for result in training] == [1, 2, 3]
        assert training[-1].is_last


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(DataError, match=r"x\.parquet is no Parquet table"):
        read_table(tmp_path / "x.parquet")
    pq.write_table(pa.table({"epoch": [1]}), tmp_path / "y.parquet")
    with pytest.raises(DataError, match=r"y\.parquet has no column seed, mean_iou"):
        read_table(tmp_path / "y.parquet")


@pytest.mark.parametrize(
    "fields",
    [
        {"num_blocks_2": 10**9},
        {"reduction_2": "1"},
        {"epoch": -1},
        {"train_loss": "x"},
        {"mean_iou": float("nan")},
    ],
    ids=repr,
)
def test_a_row_that_is_no_training_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    rows = [row(architecture, 0, 1) | fields for architecture in ARCHITECTURES[:2]]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")

    with pytest.raises((DataError, UsageError)):
        read_table(tmp_path / "x.parquet")


def test_fields_that_make_too_many_networks_are_refused(tmp_path: Path) -> None:
    """A thousand trainings can name a grid that no memory holds."""
    rows = [
        row(Architecture(11, n, n, (2 * n, 2 * n, 2 * n), (n,), (n,)), 0, 1) for n in range(9, 60)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")

    with pytest.raises(DataError, match="make more than 10,000,000 networks"):
        read_table(tmp_path / "x.parquet")


def test_a_table_is_searched_without_training(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    effort = EffortOptions(trials=12)
    options = SearchOptions(budget="0.5M", simulate=path, workers=4, effort=effort)

    assert search(options) == 0
    out = capsys.readouterr().out
    assert out.startswith("simulated table.parquet: 12 complete; 36 epochs in 36 s of 4 workers")
    assert "front of" in out


def confirming(path: Path, confirm: int, peers: str = "") -> SearchOptions:
    effort, after = EffortOptions(trials=12), ConfirmOptions(confirm=confirm, peers=peers)
    return SearchOptions(budget="0.5M", simulate=path, effort=effort, after=after)


def test_a_search_of_a_table_is_confirmed_by_its_other_trainings(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 1 is a thousandth above seed 0 everywhere, so the claim grows by that."""
    assert search(confirming(path, 1)) == 0
    out = capsys.readouterr().out

    told = out.partition("trained again from scratch with seed 1, mIoU on val:\n")[2]
    rows = re.findall(r"^ *[\d,]+ +([\d.]+) +([\d.]+)  M", told, re.MULTILINE)
    assert rows
    assert all(float(again) == pytest.approx(float(claim) + 0.1) for claim, again in rows)


def test_a_table_of_too_few_trainings_or_with_peers_is_refused(path: Path) -> None:
    with pytest.raises(UsageError, match=r"--confirm 2 needs 3 trainings of .*the table has 2"):
        search(confirming(path, 2))
    with pytest.raises(UsageError, match="--simulate trains nothing"):
        search(confirming(path, 1, "enet"))
