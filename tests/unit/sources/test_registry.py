"""Data sets by name."""

import pickle
from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.sources.camvid import CamVid
from pipeline.sources.registry import SOURCES, open_source
from pipeline.sources.streets.source import Streets


def test_each_name_opens_its_source(tmp_path: Path) -> None:
    assert Streets() == open_source("streets", None)
    assert CamVid(tmp_path) == open_source("camvid", tmp_path)


def test_a_source_bears_the_name_it_is_opened_by(tmp_path: Path) -> None:
    opened = [open_source("streets", None), open_source("camvid", tmp_path)]

    assert sorted(SOURCES) == sorted(source.name for source in opened)


def test_sources_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    for source in (open_source("streets", None), open_source("camvid", tmp_path)):
        assert source == pickle.loads(pickle.dumps(source))


def test_streets_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out --source"):
        open_source("streets", tmp_path)


def test_camvid_needs_a_folder() -> None:
    with pytest.raises(UsageError, match="camvid needs --source DIR"):
        open_source("camvid", None)


def test_an_unknown_name_gets_the_list_of_names() -> None:
    with pytest.raises(UsageError, match="'kitti': use one of camvid, streets"):
        open_source("kitti", None)
