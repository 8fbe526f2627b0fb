"""Fixtures for all tests; a test's tier is the folder it is in."""

from pathlib import Path

import pytest

from pipeline.runtime import environment

_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(_TESTS).parts[0]
        if tier in ("integration", "e2e"):
            item.add_marker(tier)


@pytest.fixture(scope="session", autouse=True)
def _library_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ray reads its settings on import, which any test module may do first."""
    environment.configure(tmp_path_factory.mktemp("state"))
