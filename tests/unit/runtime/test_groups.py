from pathlib import Path

import pytest

from pipeline.core.config import DataConfig
from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime import groups


def test_a_data_set_that_is_gone_is_an_outage_and_no_fault_of_a_training(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match=r"dataset\.json is missing"):
        groups._opened(DataConfig(str(tmp_path), fingerprint="0" * 12))
