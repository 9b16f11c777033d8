"""A whole service in this process, on a fake host: started, talked to, stopped.

What the tests of service/service.py share. It is told apart from a real one by nothing but its
kernel (tests/support/fake_kernel.py) and its compiler; sockets, state and signals are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.fake_host import INTERFACE, USED_MAPS, FakeHost, bytecode
from tests.support.fake_tables import FakeGenerations
from xdpctl.abi import MapName, Scope, names_of
from xdpctl.filter import tcp_proof
from xdpctl.filter.limit_maps import needed
from xdpctl.maps.aging import Aging
from xdpctl.service import looks, settling
from xdpctl.service import reload as reload_module
from xdpctl.service.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig, Recipe, TcpProofProgram
    from xdpctl.settings import Settings

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing here takes a tenth of one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API."""

    status: int
    body: Any


class Home:
    """A fake host that a service may live on.

    Attributes:
        compiled: the configurations that were compiled. `compiling`: set by the first.
        compiler: fails with this, where it is not None. `tested`, `test_failure`: the same
            of the self-test.
        slow: the compiler waits for it.
        compiled_ahead: what was compiled before it was needed. `ahead_failure`: raised then.
            `ahead_slow`: it waits for it; `ahead_ended`: how often it was cancelled.
        generations: makes our own tables.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.host = FakeHost(monkeypatch, directory)
        self.kernel = self.host.kernel
        self.generations = FakeGenerations(self.host.bpf)
        self.directory = directory
        self.options: tuple[str, ...] = ()
        self.compiled: list[ProgramConfig] = []
        self.compiler: Exception | None = None
        self.tested: list[ProgramConfig] = []
        self.test_failure: Exception | None = None
        self.loader_trouble = ""
        self.compiling = asyncio.Event()
        self.slow = asyncio.Event()
        self.slow.set()
        self.compiled_ahead: list[Recipe] = []
        self.ahead_failure: Exception | None = None
        self.ahead_slow = asyncio.Event()
        self.ahead_slow.set()
        self.ahead_ended = 0
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.notify.bind(str(directory / "notify"))
        self.configured: list[tuple[object, ...]] = []
        monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        # pytest's own handlers are left where they are
        monkeypatch.setattr(reload_module, "configure", lambda *a: self.configured.append(a))
        monkeypatch.setattr(looks, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.01)
        # this machine's processes are not those of the fake kernel
        monkeypatch.setattr(Aging, "look", lambda _aging: None)
        monkeypatch.setattr(tcp_proof, "open_root", lambda: os.open("/", os.O_RDONLY))

    def close(self) -> None:
        """Close what this object opened itself."""
        self.notify.close()

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.directory / "control" / "sock"

    def settings(self) -> Settings:
        """Return the settings of `options`; what the service calls to reload."""
        return self.host.settings(*self.options)

    async def compile(self, config: ProgramConfig) -> Bytecode:
        """Stand for the compiler: the mark of a program is its number of ports."""
        self.compiled.append(config)
        self.compiling.set()
        await self.slow.wait()
        if self.compiler is not None:
            raise self.compiler
        tables = names_of(Scope.TABLES) if config.tables else ()
        limits = needed(config, 1024)
        return bytecode(*USED_MAPS, *tables, *limits, mark=len(config.ports))

    async def compile_proof(self, program: TcpProofProgram) -> Bytecode:
        """Stand for the compiler of the program that sees connections."""
        return bytecode(MapName.LIMITS, MapName.LIMIT_PROVEN, mark=len(program.ports))

    async def compile_ahead(self, recipe: Recipe) -> None:
        """Stand for the compiler at the lowest priority."""
        self.compiled_ahead.append(recipe)
        try:
            await self.ahead_slow.wait()
        except asyncio.CancelledError:
            self.ahead_ended += 1
            raise
        if self.ahead_failure is not None:
            raise self.ahead_failure

    def self_test(self, _bpf: object, config: ProgramConfig, _program: object) -> None:
        """Stand for the self-test."""
        self.tested.append(config)
        if self.test_failure is not None:
            raise self.test_failure

    def service(self, *options: str) -> Service:
        """Return a service that has not started."""
        self.options = options
        return Service(
            self.settings(),
            self.settings,
            self.host.bpf,
            self.host.netlink,
            self.compile,
            generations=self.generations,
            compile_ahead=self.compile_ahead,
            compile_proof=self.compile_proof,
            self_test=self.self_test,
            directory=self.host.own,
            loader_trouble=lambda: self.loader_trouble,
        )

    async def told(self, line: str) -> str:
        """Wait until systemd would hear this line; return the whole message."""
        async with asyncio.timeout(PATIENCE):
            while True:
                data = await asyncio.get_running_loop().sock_recv(self.notify, 4096)
                if line in (text := data.decode()).split("\n"):
                    return text

    async def told_in_part(self, words: str) -> None:
        """Wait until systemd would hear these words."""
        async with asyncio.timeout(PATIENCE):
            while True:
                data = await asyncio.get_running_loop().sock_recv(self.notify, 4096)
                if words in data.decode():
                    return

    def heard(self) -> list[str]:
        """Return what systemd was told and nobody has waited for."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.notify.recv(4096).decode())
        return found

    @contextlib.asynccontextmanager
    async def running(self, *options: str) -> AsyncIterator[Service]:
        """Give a service that is ready; stop it at the end, if nobody has before."""
        service = self.service(*options)
        async with asyncio.timeout(PATIENCE):
            task = asyncio.create_task(service.run(), name="service")
            ready = asyncio.create_task(self.told("READY=1"), name="ready")
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            ready.cancel()
            task.result()
            raise AssertionError("the service ended before it was ready")
        try:
            yield service
        finally:
            service._stop.set()
            async with asyncio.timeout(PATIENCE):
                assert await task == 0

    async def ask(self, method: str, path: str, **arguments: Any) -> Reply:  # noqa: ANN401 - aiohttp's own
        """Make a request on the control socket."""
        connector = aiohttp.UnixConnector(path=str(self.control))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://xdpctl{path}", **arguments) as answer,
        ):
            is_json = answer.content_type.endswith("json") and "ndjson" not in answer.content_type
            return Reply(answer.status, await (answer.json() if is_json else answer.text()))

    async def until(self, path: str, **wanted: object) -> dict[str, Any]:
        """Ask until the answer's document has these members; return it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found: dict[str, Any] = (await self.ask("GET", path)).body
                if all(found[name] == value for name, value in wanted.items()):
                    return found
                await asyncio.sleep(0.01)

    def mark(self, interface: str = INTERFACE) -> int:
        """Return how many ports the program on an interface was compiled for."""
        attached = self.kernel.attached(interface)
        assert attached is not None
        info = self.kernel.programs[attached.program_id].info
        tables = len(names_of(Scope.TABLES)) if self.reads_tables(interface) else 0
        return bytecode_mark(info.verified_instructions) - 2 * tables

    def reads_tables(self, interface: str = INTERFACE) -> bool:
        """Return whether the program on an interface reads the newest of our own tables."""
        attached = self.kernel.attached(interface)
        assert attached is not None
        used = self.kernel.programs[attached.program_id].info.map_ids
        heads = [made.head for made in self.generations.made]
        return bool(heads) and heads[-1] in used

    def traces(self) -> dict[str, object]:
        """Return what a service leaves behind, besides the shared pins and the state."""
        self.kernel.reap()
        self.kernel.reap()
        own = self.host.pinned().get("xdpctl", set())
        return {
            "attached": [d.name for d in self.kernel.devices.values() if d.occupied],
            "descriptors": len(self.kernel.open),
            "own pins": own,
            "control socket": self.control.exists(),
        }


def bytecode_mark(instructions: int) -> int:
    """Return the mark of a program of so many instructions (host.bytecode)."""
    return instructions - len(bytecode().instructions) // 8
