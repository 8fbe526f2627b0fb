"""Shards: the same bytes every time, readable by WebDataset, honest about what is in them."""

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.layout import Encoding, Layout
from pipeline.core.manifest import DatasetInfo
from pipeline.core.units import ShardSize
from pipeline.learning.dataset import open_dataset
from pipeline.runtime import publishing
from pipeline.runtime.sharding import plan_dataset, samples_per_shard, shard_dataset
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import Item, Result, in_process
from pipeline.sources.source import Source
from pipeline.sources.streets.source import Streets

PAIRS = Layout(shard_size=ShardSize(2, "samples"))
Squares = Callable[..., Source]


class Killed(Exception):
    """Stands for the end of the process."""


def write(source: Source, folder: Path, layout: Layout = PAIRS) -> DatasetInfo:
    """Write a data set without a cluster."""
    return shard_dataset(source, source.name, str(folder), layout, run=in_process)


def killed_after(num_shards: int) -> Callable[..., Iterator[tuple[Item, Result]]]:
    """Return a run that ends with the process after so many shards."""

    def run(task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        yield from islice(in_process(task, items), num_shards)
        raise Killed

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_what_a_training_reads(squares: Squares, out: Path) -> None:
    source = squares()
    write(source, out)
    split = open_dataset(open_folder(str(out))).split("train")

    assert len(split) == 3
    for index, key in enumerate(source.keys()["train"]):
        image, label = split[index]
        np.testing.assert_array_equal(image, source.read("train", key).image_HWC)
        np.testing.assert_array_equal(label, source.read("train", key).label_HW)


def test_the_same_source_gives_the_same_bytes(squares: Squares, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(squares(), tmp_path / name)
    first, second = files(tmp_path / "a"), files(tmp_path / "b")

    assert first == second
    assert {Path(path).name for path in first} == {
        "dataset.json",
        "manifest.parquet",
        "train-000000.tar",
        "train-000001.tar",
        "val-000000.tar",
    }


def test_what_a_data_set_is_called_by_is_its_content_not_its_shards(
    squares: Squares, tmp_path: Path
) -> None:
    cut = [Layout(shard_size=ShardSize(n, "samples")) for n in (1, 3)]
    one, three = (write(squares(), tmp_path / str(i), layout) for i, layout in enumerate(cut))
    longer = write(squares(num_train=4), tmp_path / "longer")

    assert one.fingerprint == three.fingerprint
    assert one.generation != three.generation
    assert longer.fingerprint != one.fingerprint


@pytest.mark.parametrize("encoding", ["png", "jpeg", "webp"])
def test_webdataset_reads_the_shards(squares: Squares, out: Path, encoding: Encoding) -> None:
    source = squares()
    info = write(source, out, Layout(encoding=encoding))
    tar = str(out / info.generation / "train-000000.tar")
    samples = list(webdataset.WebDataset(tar, shardshuffle=False))

    assert info.image_encoding == encoding
    assert [sample["__key__"] for sample in samples] == ["000", "001", "002"]
    suffix = {"png": "png", "jpeg": "jpg", "webp": "webp"}[encoding]
    with Image.open(io.BytesIO(samples[1][f"image.{suffix}"])) as image:
        assert image.format == encoding.upper()
        np.testing.assert_allclose(image, source.read("train", "001").image_HWC, atol=2)
    with Image.open(io.BytesIO(samples[1]["label.png"])) as label:
        np.testing.assert_array_equal(label, source.read("train", "001").label_HW)


def test_statistics_are_of_the_train_split_alone(squares: Squares, out: Path) -> None:
    info = write(squares(num_train=4), out)

    assert info.mean == (50.0, 50.0, 50.0)
    assert info.std == (50.0, 50.0, 50.0)
    assert info.class_weights == pytest.approx([1 / np.log(1.6)] * 2)
    assert info.num_samples == {"train": 4, "val": 1}


def test_statistics_are_those_of_the_pixels(out: Path) -> None:
    source = Streets(num_train=5, num_val=1, image_size=(32, 48))
    info = write(source, out)
    samples = [source.read("train", key) for key in source.keys()["train"]]
    pixels = np.concatenate([sample.image_HWC.reshape(-1, 3) for sample in samples])
    labels = np.concatenate([sample.label_HW.ravel() for sample in samples])

    np.testing.assert_allclose(info.mean, pixels.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(info.std, pixels.std(axis=0), atol=1e-4)
    assert info.class_pixels == tuple(np.bincount(labels, minlength=12)[:11])


def test_unlabelled_pixels_are_counted_apart(squares: Squares, out: Path) -> None:
    write(squares(), out)

    assert open_dataset(open_folder(str(out))).records[1].class_pixels == (0, 7 * 16, 16)


def test_pictures_of_several_sizes_are_told_after_the_first_shards(
    squares: Squares, out: Path
) -> None:
    mixed = squares(sizes=((8, 16), (16, 16)), num_train=50)

    with pytest.raises(DataError, match="several sizes, from 8x16 to 16x16: choose one with"):
        write(mixed, out)
    assert len(list(out.rglob("*.tar"))) == 1
    resized = write(mixed, out, Layout(image_size=(8, 8)))
    assert resized.image_size == (8, 8)
    assert {path.name for path in out.iterdir()} == {"dataset.json", resized.generation}


def test_resizing_invents_no_label(squares: Squares, out: Path) -> None:
    write(squares(sizes=((9, 15),)), out, Layout(image_size=(6, 11)))
    split = open_dataset(open_folder(str(out))).split("train")

    for image, label in (split[i] for i in range(3)):
        assert image.shape == (6, 11, 3)
        assert set(np.unique(label)) <= {0, 1, 255}


@pytest.mark.parametrize("num_done", [0, 1, 3, 6])
def test_the_next_run_writes_only_what_a_killed_one_did_not(
    squares: Squares, tmp_path: Path, num_done: int
) -> None:
    source, out = squares(num_train=9, num_val=1), tmp_path / "out"
    whole = write(source, tmp_path / "whole")
    with pytest.raises(Killed):
        shard_dataset(source, "squares", str(out), PAIRS, run=killed_after(num_done))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}

    assert len(before) == num_done
    assert not (out / "dataset.json").exists()
    plan = plan_dataset(source, "squares", str(out), PAIRS)
    assert (plan.num_shards, plan.num_finished, plan.is_published) == (6, num_done, False)
    told: list[tuple[int, int]] = []
    info = shard_dataset(
        source, "squares", str(out), PAIRS, lambda *said: told.append(said), in_process
    )
    assert info == whole
    assert files(out) == files(tmp_path / "whole")
    assert before.items() <= {p: p.stat().st_mtime_ns for p in out.rglob("*.tar")}.items()
    assert len(told) == 1 + 6 - num_done
    assert told[-1][0] == told[-1][1] < 11


def test_a_shard_without_its_part_is_written_again(squares: Squares, out: Path) -> None:
    """As after a kill between the two."""
    with pytest.raises(Killed):
        shard_dataset(squares(), "squares", str(out), PAIRS, run=killed_after(1))
    (tar,) = out.rglob("*.tar")
    whole = tar.read_bytes()
    tar.write_bytes(whole[:100])
    (part,) = out.rglob("*.parquet")
    part.unlink()
    write(squares(), out)

    assert tar.read_bytes() == whole


def test_a_data_set_that_is_there_is_not_read_again(
    squares: Squares, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(squares(), out)
    monkeypatch.setattr(squares, "read", None)

    assert write(squares(), out) == first
    plan = plan_dataset(squares(), "squares", str(out), PAIRS)
    assert "nothing to do: the data set is there" in plan.describe("x")


def test_readers_see_the_old_data_set_until_the_new_one_is_whole(
    squares: Squares, out: Path
) -> None:
    old = write(squares(), out)
    new = squares(num_train=5)
    with pytest.raises(Killed):
        shard_dataset(new, "squares", str(out), PAIRS, run=killed_after(2))

    assert len(open_dataset(open_folder(str(out))).split("train")) == 3
    info = write(new, out)
    assert len(open_dataset(open_folder(str(out))).split("train")) == 5
    assert {path.name for path in out.iterdir()} == {"dataset.json", info.generation}
    assert old.generation != info.generation


def test_a_description_that_cannot_be_read_is_replaced(squares: Squares, out: Path) -> None:
    first = write(squares(), out)
    (out / "dataset.json").write_text('{"schema_version": 1}')

    assert write(squares(), out) == first
    assert open_dataset(open_folder(str(out))).info == first


def test_only_generations_are_tidied_away(squares: Squares, out: Path) -> None:
    (out / "notes").mkdir(parents=True)
    (out / "202611271111").mkdir()
    (out / "202611271111" / "photo.png").touch()
    (out / "0123456789ab").mkdir()  # killed before anything of it was whole
    (out / "0123456789ab" / "train-000000.tar.partial").touch()
    write(squares(), out)

    assert (out / "notes").is_dir()
    assert (out / "202611271111" / "photo.png").is_file()
    assert not (out / "0123456789ab").exists()


def test_a_plan_writes_nothing(squares: Squares, out: Path) -> None:
    plan = plan_dataset(squares(num_train=5), "squares", str(out), PAIRS)

    assert not out.exists()
    assert plan.describe("uri") == (
        f"5 train, 1 val samples, 2 in a shard: 4 shards in uri/{plan.generation}\n"
        "0 are there already, 4 to write"
    )


def test_shards_of_so_many_bytes_are_near_that_size(out: Path) -> None:
    source = Streets(num_train=60, num_val=1, image_size=(32, 48))
    layout = Layout(shard_size=ShardSize(60_000, "bytes"))
    write(source, out, layout)
    *full, _ = sorted(out.rglob("train-*.tar"))

    assert len(full) > 2
    for tar in full:
        assert 40_000 < tar.stat().st_size < 80_000
    assert samples_per_shard(source, Layout(shard_size=ShardSize(1, "bytes"))) == 1


def test_a_manifest_of_several_row_groups_is_read_in_order(
    squares: Squares, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_ROWS_PER_GROUP", 3)
    source = squares(num_train=11, num_val=2)
    write(source, out)
    records = open_dataset(open_folder(str(out))).records

    assert [record.key for record in records.of_split("train")] == source.keys()["train"]
    assert [record.split for record in records] == ["train"] * 11 + ["val"] * 2


def test_a_key_that_webdataset_would_cut_is_refused(
    squares: Squares, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(squares, "keys", lambda self: {"train": ["a.b"]})

    with pytest.raises(DataError, match=r"squares has the key 'a\.b', wanted one without a dot"):
        write(squares(), out)


def test_a_label_that_is_no_class_is_refused(
    squares: Squares, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = squares.read

    def with_a_seven(self: Source, split: str, key: str) -> object:
        sample = read(self, split, key)
        sample.label_HW[3, 3] = 7
        return sample

    monkeypatch.setattr(squares, "read", with_a_seven)

    with pytest.raises(DataError, match=r"squares train/000 holds the label 7, wanted 0\.\.1, or"):
        write(squares(), out)


def test_a_place_that_cannot_be_written_is_told(squares: Squares, out: Path) -> None:
    out.parent.joinpath("file").write_text("")

    with pytest.raises(DataError, match="cannot be written"):
        write(squares(), out.parent / "file" / "out")
