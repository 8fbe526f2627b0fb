"""This machine's loopback address: free ports on it, and what a server there answers."""

import http.client
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from pipeline.core.errors import ServiceUnavailable

HOST = "127.0.0.1"
_LAST_PORT = 65535


def url(port: int) -> str:
    """Return the HTTP address of ``port``."""
    return f"http://{HOST}:{port}"


def past_proxies() -> dict[str, str]:
    """Return the variable that keeps clients from asking a proxy for this address."""
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in excepted.split(",") if host.strip()]
    return {"no_proxy": ",".join(dict.fromkeys([*hosts, HOST]))}


def is_free(port: int) -> bool:
    """Return whether a server could listen on ``port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger after a stop are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose_ports(
    preferred: Mapping[str, int],
    *,
    offsets: Sequence[int] = (0,),
    is_free: Callable[[int], bool] = is_free,
) -> dict[str, int]:
    """Return one port per name: the preferred one, or the next one up that can be had.

    Args:
        preferred: the port to try first, by name.
        offsets: a port p is taken together with p + offset, for each of these.
        is_free: whether a port may be used; asked of every port before it is chosen.

    Raises:
        ServiceUnavailable: no port above a preferred one is free.
    """
    chosen: dict[str, int] = {}
    taken: set[int] = set()
    for name, first in preferred.items():
        for port in range(first, _LAST_PORT + 1 - max(offsets)):
            claimed = {port + offset for offset in offsets}
            if taken.isdisjoint(claimed) and all(map(is_free, claimed)):
                chosen[name] = port
                taken |= claimed
                break
        else:
            raise ServiceUnavailable(f"no free port at or above {first} for {name}: free one")
    return chosen


def fetch(port: int, path: str, *, timeout_s: float = 2.0) -> str | None:
    """Return the body of a 200 answer to GET ``path``, None for any other answer or none.

    No proxy is asked, whatever the environment says.
    """
    with closing(http.client.HTTPConnection(HOST, port, timeout=timeout_s)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return None
    return body if response.status == http.client.OK else None
