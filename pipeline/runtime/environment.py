"""Settings that libraries take from the environment when they are imported.

``configure`` comes before the imports of Ray and MLflow; processes started later inherit it.
"""

import ctypes
import os
import secrets
from pathlib import Path

_KEPT_BYTES = 1 << 30
# glibc would return the memory of every large tensor and fault it in again in the next operation,
# in pages of 4 KiB: a sixth of a training step on CPU.
ALLOCATOR = {
    "GLIBC_TUNABLES": f"glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold={_KEPT_BYTES}:"
    "glibc.malloc.trim_threshold=4294967296"
}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_SETTINGS = {
    **ALLOCATOR,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default; else Ray warns of it
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of tasks that are cancelled because another failed
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",  # how soon a dead worker is noticed; default 2
    # A node that is gone is given up after 5 s where its machine says so, 30 s where nothing does.
    "RAY_health_check_period_ms": "1000",  # default 3000
    "RAY_health_check_timeout_ms": "5000",  # default 10000
    "RAY_health_check_failure_threshold": "5",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # default 5, of the 30 s that a node may have
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own record is never restored
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # what is tracked waits on disk and is sent again
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def configure(state_dir: Path) -> None:
    """Set what the user has not set. Local Ray gets a token that only this user can read."""
    if "GLIBC_TUNABLES" not in os.environ:
        _keep_memory()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # of the only machine
        _use_own_token(state_dir)


def _keep_memory() -> None:
    """Have this process, which has started, keep the memory of tensors too: in small pages only."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _use_own_token(state_dir: Path) -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN_PATH" in os.environ or "RAY_AUTH_TOKEN" in os.environ:
        return
    path = (state_dir / "ray_token").resolve()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
