"""The Ray cluster: the one RAY_ADDRESS names, or a local one closed to the network."""

import logging
import os
import secrets
from pathlib import Path

from pipeline.core.errors import ServiceUnavailable, UsageError

OBJECT_STORE_BYTES = 256 << 20  # only small messages pass through Ray; data comes from S3

# Read by Ray when it is imported or starts a process. A report may wait for a health check, so
# these are frequent; the rest is work nobody looks at here.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def configure(state_dir: Path) -> None:
    """Set Ray's environment. To be called before anything imports Ray, which reads it then."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("RAY_ADDRESS"):
        _use_own_token(state_dir)


def connect() -> None:
    """Connect this process to Ray, starting a local cluster unless RAY_ADDRESS is set.

    Raises:
        ServiceUnavailable: the cluster does not answer.
    """
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start_local(ray)
    except (ConnectionError, RuntimeError, TimeoutError) as cause:
        where = f"the cluster at {address}" if address else "a local cluster"
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise ServiceUnavailable(
            f"Ray: cannot use {where} ({reason}); check RAY_ADDRESS"
        ) from cause


def num_slots(workers_per_trial: int) -> int:
    """Return how many trials of this many workers the cluster can train at once.

    Raises:
        UsageError: not one fits.
    """
    import ray

    resources = ray.cluster_resources()
    kind = "GPU" if resources.get("GPU") else "CPU"
    available = int(resources.get(kind, 0))
    if available < workers_per_trial:
        raise UsageError(
            f"{workers_per_trial} workers for one training need {workers_per_trial} {kind}s, the "
            f"cluster has {available}: ask for fewer"
        )
    return available // workers_per_trial


def has_gpus() -> bool:
    """Return whether the cluster has any GPU."""
    import ray

    return bool(ray.cluster_resources().get("GPU"))


def _use_own_token(state_dir: Path) -> None:
    """Have Ray's processes talk only to who can read our token, not one shared by all of $HOME."""
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


def _start_local(ray: object) -> None:
    from ray._private import services

    # Ray 2.60 turns 127.0.0.1 into the LAN address and then listens on every interface; it has no
    # public switch against that.
    services.resolve_ip_for_localhost = lambda host: host
    ray.init(  # type: ignore[attr-defined]  # the module, passed in so that importing stays above
        address="local",
        _node_ip_address="127.0.0.1",
        include_dashboard=True,  # Ray Train frees a stopped group's CPUs only with its state API
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
