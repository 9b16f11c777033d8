"""What is asked of a service in a soak, one thing after another, all of it again and again.

Requests of every kind on the control socket, bad ones included, scrapes on --listen,
connections that are given up, entries written and taken away through the pins as dnsdist
does it. Each kind leaves as much behind as it found once it has been round.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tests.lab import LabError
from tests.lab.service import PORT
from xdpctl.abi import RULE_MAPS, RuleAction, encode_value
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.rules import AnyQtype, key_of, map_of, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.lab import Host

    Steps = Mapping[str, Callable[[], None]]

LISTED: Final = 2_000
"""Rules of the list that a PUT exchanges half of."""

_RULES: Final = "/api/v1/rules"
_JSON: Final = "application/json"
_BAD: Final = (
    ("POST", _RULES, b'{"target": "not a target"}'),
    ("POST", _RULES, b'{"target": '),
    ("GET", f"{_RULES}?limit=x", b""),
    ("GET", "/nowhere", b""),
    ("DELETE", f"{_RULES}?target=203.0.113.255", b""),
    ("PUT", f"{_RULES}?origin=file:soak", b'[{"target": "192.0.2.300"}]'),
)


class RefusedError(LabError):
    """The service answered something else than it should."""


class Work:
    """The requests.

    Args:
        host: where the service is.
        control: its control socket.
    """

    def __init__(self, host: Host, control: Path) -> None:
        self._host = host
        self._control = control
        self._turn = 0

    def prepare(self) -> None:
        """Make the rules that the traffic meets."""
        for target, action in (
            ("192.0.2.66", "drop"),
            ("2001:db8::66", "drop"),
            ("dropped.example", "drop"),
            ("truncated.example", "truncate"),
        ):
            self._ask("POST", _RULES, _body({"target": target, "action": action}))

    @property
    def changes(self) -> Steps:
        """What changes rules: each step by its name."""
        return {
            "rule made": self._make,
            "rule changed": self._change,
            "rule removed": self._remove,
            "rule that expires": self._let_expire,
            "PUT": self._put,
            "import": self._import,
            "entries as dnsdist's": self._as_dnsdist,
            "bad requests": self._be_refused,
            "panic": self._panic,
        }

    @property
    def looks(self) -> Steps:
        """What only asks."""
        control = (f"{_RULES}?limit=100", "/api/v1/top", "/api/v1/export", "/api/v1/limits")
        listen = ("/metrics", "/healthz", "/api/v1/status")
        return {
            **{f"{path} on --listen": partial(self._scrape, path) for path in listen},
            **{path: partial(self._ask, "GET", path) for path in control},
            "given up": self._give_up,
        }

    def _make(self) -> None:
        self._turn += 1
        self._ask("POST", _RULES, _body(self._rule | {"reason": f"turn {self._turn}"}))

    def _change(self) -> None:
        changed = {"action": "truncate", "expires_in": 3600}
        self._ask("POST", _RULES, _body(self._rule | changed))

    def _remove(self) -> None:
        self._ask("DELETE", f"{_RULES}?target={self._rule['target']}")

    @property
    def _rule(self) -> dict[str, object]:
        return {"target": f"203.0.113.{self._turn % 100}"}

    def _let_expire(self) -> None:
        target = f"n{self._turn % 50}.soak.example"
        self._ask("POST", _RULES, _body({"target": target, "expires_in": 1 + self._turn % 4}))

    def _put(self) -> None:
        self._ask("PUT", f"{_RULES}?origin=file:soak", _body(listed(self._turn % 2)))

    def _import(self) -> None:
        lines = "".join(f"198.18.0.{n} action=drop for=1h\n" for n in range(100))
        self._ask("POST", "/api/v1/import?origin=file:lines", lines.encode(), "text/plain")

    def _panic(self) -> None:
        for word in ("panic", "resume"):
            self._ask("POST", f"/api/v1/{word}")

    def _be_refused(self) -> None:
        for method, path, body in _BAD:
            status, _ = self._send(method, path, body, _JSON)
            if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise RefusedError(f"{method} {path}: {status}, which is no refusal")

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = _JSON) -> None:
        status, answer = self._send(method, path, body, kind)
        if status != HTTPStatus.OK:
            raise RefusedError(f"{method} {path}: {status} {answer[:300]!r}")

    def _send(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection("localhost", timeout=60)) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(60)
            connection.sock.connect(str(self._control))
            connection.request(method, path, body or None, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read()

    def _scrape(self, path: str) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT)) as connection:
            connection.sock = self._connected()
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            if response.status != HTTPStatus.OK:
                raise RefusedError(f"GET {path} on --listen: {response.status}")

    def _give_up(self) -> None:
        """Leave a request half sent, and an answer unread."""
        with self._connected() as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        with self._connected() as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

    def _connected(self) -> socket.socket:
        sock = self._host.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(60)
            sock.connect(("127.0.0.1", PORT))
        except OSError:
            sock.close()
            raise
        return sock

    def _as_dnsdist(self) -> None:
        """Write entries through the pins and take them away."""
        with contextlib.ExitStack() as stack:
            bpf, pins = Bpf(), self._host.lab.pins
            maps = {name: stack.enter_context(bpf.open_map(pins / name)) for name in RULE_MAPS}
            for text in ("192.0.2.200", "2001:db8:200::/48", "foreign.soak.example"):
                target = parse_target(text)
                opened, key = maps[map_of(target)], key_of(target, AnyQtype.BOTH)
                opened.update(key, encode_value(RuleAction.DROP))
                opened.delete(key)


def listed(turn: int) -> list[dict[str, str]]:
    """Return one of two lists that have half of their rules in common."""
    first = turn * LISTED // 2
    return [
        {"target": f"10.1.{n >> 8}.{n & 255}" if n % 10 else f"list{n}.soak.example"}
        for n in range(first, first + LISTED)
    ]


def _body(document: object) -> bytes:
    return json.dumps(document).encode()
