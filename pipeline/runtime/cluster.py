"""The Ray cluster: the one RAY_ADDRESS names, or a local one closed to the network."""

import logging
import os
import socket
import threading
from pathlib import Path
from typing import Any

import ray
from ray._private import services, worker

from pipeline.core.errors import ServiceUnavailable, UsageError
from pipeline.runtime.console import say
from pipeline.runtime.ray_probe import check_token

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 256 << 20  # only small messages pass through Ray; data comes from S3


def connect(*, trains: bool = True) -> None:
    """Connect this process to Ray, starting a local cluster unless RAY_ADDRESS is set.

    Args:
        trains: whether this process is going to train; if not, a local cluster goes without the
            eleven processes of a dashboard.

    Raises:
        ServiceUnavailable: the cluster does not answer.
    """
    if ray.is_initialized():
        return
    # Ray 2.60 prints what its nodes complain of to stdout, which is for results, and has no switch.
    worker.print_to_stdstream = _log_complaint
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            check_token(os.environ, Path.home())
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start_local(with_dashboard=trains)
    except (ConnectionError, RuntimeError, TimeoutError) as cause:
        where = f"the cluster at {address}" if address else "a local cluster"
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise ServiceUnavailable(
            f"Ray: cannot use {where} ({reason}); check RAY_ADDRESS"
        ) from cause
    threading.Thread(target=_end_with, args=(worker.global_worker.node,), daemon=True).start()


def num_slots(workers_per_trial: int) -> int:
    """Return how many trainings of this many workers the cluster can run at once.

    Raises:
        UsageError: not one fits.
    """
    kind = "GPU" if has_gpus() else "CPU"
    available = int(_resources().get(kind, 0))
    if available < workers_per_trial:
        raise UsageError(
            f"{workers_per_trial} workers for one training need {workers_per_trial} {kind}s, the "
            f"cluster has {available}: ask for fewer"
        )
    return available // workers_per_trial


def num_cpus() -> int:
    """Return how many CPUs the cluster has, at least 1."""
    return max(1, int(_resources().get("CPU", 0)))


def has_gpus() -> bool:
    """Return whether the cluster has any GPU."""
    return bool(_resources().get("GPU"))


def _resources() -> dict[str, float]:
    return dict(ray.cluster_resources())


def _end_with(node: Any) -> None:
    """End this process when its node of Ray dies: Ray does so too, later and without a word."""
    with socket.socket(socket.AF_UNIX) as raylet:
        raylet.connect(node.raylet_socket_name)
        raylet.recv(1)  # it says nothing to who says nothing; the connection ends with it
    if worker.global_worker.node is node:  # not so after ray.shutdown()
        say("error: Ray's node on this machine has died; the same command goes on")
        os._exit(1)


def _log_complaint(data: dict[str, Any], ignore_prefix: bool) -> None:
    for line in data["lines"]:
        log.warning("ray: %s", line)


def _start_local(*, with_dashboard: bool) -> None:
    # Ray 2.60 turns 127.0.0.1 into the LAN address and then listens on every interface; it has no
    # public switch against that.
    services.resolve_ip_for_localhost = lambda host: host
    ray.init(
        address="local",
        _node_ip_address="127.0.0.1",
        # Ray Train frees a stopped group's CPUs only with its state API.
        include_dashboard=with_dashboard,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
