"""The image: built from its Containerfile, run with the commands in the file's header."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab import Lab, Responder, dig
from tests.lab.process import LabError, eventually
from tests.packages import kubernetes
from tests.packages.claims import Claim
from tests.packages.debian import execute
from tests.packages.package import ROOT
from tests.packages.podman import TAG, Podman, after, podman, run_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.hosts import Host
    from tests.lab.process import Process

_KEEP: Final = 'on-exit = "keep"\n'
_SHARED: Final = 'pin-owner = "953:0"\npin-mode = "0660"\n'
DNSDIST_ID: Final = 953
_ABSENT: Final = "wait = true\n"


def xdpctl(pod: Podman, *words: str) -> str:
    """Run a verb from outside, on the control socket that the container shares."""
    control = str(pod.volumes["/run/xdpctl"] / "control.sock")
    argv = [str(ROOT / ".venv/bin/xdpctl"), *words, "--control", control]
    return execute(argv, doing=f"xdpctl {words[0]}")


def _started(pod: Podman) -> Process:
    """Run the service as the header says; return it when it is ready."""
    process = pod.host.lab.start("container", pod.as_in_header(run_command()))
    process.line(r"\bready\b", timeout=60)
    return process


def _ended(pod: Podman, process: Process, *words: str) -> None:
    """End the container with a command of podman's, and remove it."""
    pod.run(*words, "xdpctl")
    process.wait(30)
    pod.run("rm", "--force", "--ignore", "xdpctl")


def _asked(server: Host, probe: str) -> str:
    """Return what a probe of the DaemonSet's is answered: "200", or "000" for nothing."""
    argv = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}")
    return server.run(*argv, kubernetes.probes()[probe], check=False).stdout


def _capabilities(pid: str) -> set[str]:
    """Return the effective capabilities of a process; those that nobody gave by number."""
    status = Path(f"/proc/{pid}/status").read_text()
    bits = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
    names = {12: "NET_ADMIN", 38: "PERFMON", 39: "BPF"}
    return {names.get(bit, str(bit)) for bit in range(64) if bits >> bit & 1}


def _first(pod: Podman, client: Host, server: Host) -> Iterator[Claim]:
    """Run a container; it stops and leaves its filter."""
    process = _started(pod)
    yield Claim("it is ready with the header's command", held=True)
    held = _capabilities(pod.run("inspect", "--format", "{{.State.Pid}}", "xdpctl").strip())
    wanted = set(after("--cap-add", run_command())) - {"PERFMON"}
    yield Claim("it has the header's capabilities but for perfmon", held == wanted, str(held))
    for probe in kubernetes.probes():
        code = _asked(server, probe)
        yield Claim(f"the DaemonSet's {probe} probe finds it well", code == "200", code)
    xdpctl(pod, "block", "dropped.example")
    yield Claim("what is blocked is dropped", not dig(client, "dropped.example").arrived)
    yield Claim("what is not is answered", dig(client, "www.example").arrived)
    program = server.xdp_id()
    _ended(pod, process, "stop")
    stays = program is not None and server.xdp_id() == program
    yield Claim("its program stays when it stops", stays)
    yield Claim("and still drops", not dig(client, "dropped.example").arrived)


def _next(pod: Podman, client: Host, server: Host) -> Iterator[Claim]:
    """Run another as Kubernetes does, and take the filter off with a third."""
    process = _started(pod)
    listed = xdpctl(pod, "list")
    yield Claim("the next container takes the rules over", "dropped" in listed, listed)
    program = server.xdp_id()
    _ended(pod, process, "kill", "--signal", "TERM")
    stays = program is not None and server.xdp_id() == program
    yield Claim("with the DaemonSet's settings SIGTERM leaves it on", stays)
    yield Claim("and it still drops", not dig(client, "dropped.example").arrived)
    process = _started(pod)
    said = xdpctl(pod, "detach")
    try:
        eventually(lambda: server.xdp_id() is None, "no program")
    except LabError:
        yield Claim("`detach` takes it off", held=False, seen=said)
    else:
        yield Claim("`detach` takes it off", held=True)
    _ended(pod, process, "stop")


def _waiting(pod: Podman, server: Host) -> Iterator[Claim]:
    """Run one whose interface is not there."""
    process = pod.host.lab.start("container", pod.as_in_header(run_command()))
    process.line(r"\bwaiting\b", timeout=60)
    codes = {probe: _asked(server, probe) for probe in kubernetes.probes()}
    wanted = {"startup": "200", "liveness": "200", "readiness": "503"}
    text = "while its interface is missing it is not ready, and not killed for that"
    yield Claim(text, codes == wanted, str(codes))
    _ended(pod, process, "stop")


def claims(folder: Path, settings: str) -> Iterator[Claim]:
    """Yield what is claimed of the image built from the package in `folder`.

    Args:
        folder: what the image is built from.
        settings: the DaemonSet's xdpctl.toml.

    Raises:
        RootError, LabError: something is not installed, or the image cannot be built or run.
    """
    with Lab() as lab, ExitStack() as stack:
        client, server = lab.pair()
        pod = stack.enter_context(podman(lab, server))
        pod.build(folder)
        yield Claim("the image is built from its Containerfile", held=True)
        size = json.loads(pod.run("image", "inspect", TAG))[0]["Size"] // 2**20
        yield Claim(f"it is {size} MiB large", held=True)
        Responder(server)
        config = pod.volumes["/etc/xdpctl"] / "xdpctl.toml"
        config.write_text(settings.replace(_KEEP, "") + _SHARED)
        said = execute(pod.as_in_header(run_command("prepare")), doing="prepare in a container")
        pins = pod.volumes["/sys/fs/bpf"] / "dnsdist"
        owner = pins.stat().st_uid if pins.is_dir() else None
        yield Claim("`prepare` gives the shared maps away", owner == DNSDIST_ID, said)
        yield from _first(pod, client, server)
        config.write_text(settings + _SHARED)
        yield from _next(pod, client, server)
        config.write_text(settings.replace("eth0", "eth9") + _SHARED + _ABSENT)
        yield from _waiting(pod, server)
