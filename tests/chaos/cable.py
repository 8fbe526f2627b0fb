"""A second machine: a network namespace at the other end of a cable."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.site import Place

INTERFACE = "cgnet0"  # of both ends: gloo is told one name for all ranks
HERE, ALSO_HERE = Place("10.77.0.1"), Place("10.77.0.3")
_NAME = "cgnet-far"
THERE = Place("10.77.0.2", ("ip", "netns", "exec", _NAME))


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True)


@contextmanager
def plugged() -> Iterator[None]:
    """Have the namespace and the cable; skip where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and Debian's iproute2")
    try:
        _ip("netns", "add", _NAME)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace: {error.stderr.decode().strip()}")
    try:
        _ip("link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", _NAME)
        for place in (HERE, ALSO_HERE):
            _ip("addr", "add", f"{place.ip}/24", "dev", INTERFACE)
        _ip("link", "set", INTERFACE, "up")
        _ip("-n", _NAME, "addr", "add", f"{THERE.ip}/24", "dev", INTERFACE)
        _ip("-n", _NAME, "link", "set", "lo", "up")
        plug()
        yield
    finally:
        _ip("netns", "del", _NAME)  # and with it both ends


def plug() -> None:
    """Plug the cable in at the far end."""
    _ip("-n", _NAME, "link", "set", INTERFACE, "up")


def pull() -> None:
    """Pull it out: packets are lost, and nobody is told."""
    _ip("-n", _NAME, "link", "set", INTERFACE, "down")
