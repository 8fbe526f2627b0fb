"""Settings for all tests; a test's tier is the folder it is in."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.runtime import environment
from tests.disk import Mount, mount_tmpfs, unmount

_TESTS = Path(__file__).parent

# How long an example takes is the machine's business: the first one of a process starts threads.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Make the settings that Ray reads on import, before a test module imports it."""
    state = tempfile.TemporaryDirectory(prefix="cgnet-tests-")
    config.add_cleanup(state.cleanup)
    environment.configure(Path(state.name))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, help="where the chaos suite writes what it saw")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(_TESTS).parts[0]
        if tier in ("integration", "e2e", "browser", "chaos"):
            item.add_marker(tier)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Return what mounts a disk of 1 MB, or of another size, or changes how it is mounted."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = False

    def make(flags: int = 0, size: str = "1M") -> Path:
        nonlocal mounted
        mount_tmpfs(path, size, flags)
        mounted = True
        return path

    yield make
    if mounted:
        unmount(path)
