"""Findings about the host: kernel, privilege, compiler, the pin directory, the pins.

Pure; called by report.py. Owns the sentences of these findings. Does not gather facts (survey.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import RULE_MAPS
from xdpctl.kernel.failure import OLDEST_KERNEL, READ_ONLY
from xdpctl.status.checks.facts import DirectoryFacts, Facts, Finding, HostFacts, Level, PinFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf.pins import PinPolicy

MEMORY_CGROUP_KERNEL = (5, 11)
"""From this version on, maps count as memory of the cgroup, not as locked memory."""

LOAD_CAPABILITIES = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")


def of_host(host: HostFacts) -> Iterator[Finding]:
    """Yield the findings about kernel, privilege, compiler and environment."""
    if host.kernel < OLDEST_KERNEL:
        yield Finding(
            Level.ERROR,
            f"the kernel is Linux {host.release}, but xdpctl needs Linux 5.10 or later",
            "kernel",
        )
    else:
        yield Finding(Level.OK, f"the kernel is Linux {host.release}", "kernel")
    if missing := missing_to_load(host):
        yield Finding(
            Level.ERROR,
            f"this process lacks {', '.join(missing)} and cannot load and attach programs: run it"
            " as root, or give it these capabilities",
            "capabilities",
        )
    else:
        yield Finding(Level.OK, "this process can load and attach programs", "capabilities")
    yield from of_parts(host)
    yield from of_jit(host)
    limited = host.memory_lock is not None and "CAP_SYS_RESOURCE" in host.missing
    if limited and host.kernel < MEMORY_CGROUP_KERNEL:
        yield Finding(
            Level.WARNING,
            f"locked memory is limited to {host.memory_lock} bytes, and maps count as locked"
            " memory before Linux 5.11: raise the limit (LimitMEMLOCK=infinity, ulimit -l"
            " unlimited)",
            "memory",
        )
    if host.apart:
        yield Finding(
            Level.WARNING,
            "`ip netns exec` gives its command a /sys of its own, so that no other process sees the"
            " pins made there: use `nsenter --net=/run/netns/NAME` instead",
            "namespace",
        )
    for sentence in unseen(host):
        yield Finding(Level.NOTE, sentence, "namespace")
    yield from of_files(host)


def missing_to_load(host: HostFacts) -> list[str]:
    """Return the capabilities that loading a program needs and that this process lacks."""
    return [name for name in LOAD_CAPABILITIES if name in host.missing]


def unseen(host: HostFacts) -> Iterator[str]:
    """Yield a sentence for each kind of thing that is on this host and cannot be seen from here."""
    if host.hidden is not None:
        yield (
            f"{host.hidden}: which process holds a shared map, and which of dnsdist's entries are"
            " stale, is unknown unless dnsdist is visible here; to see it, share the host's"
            " processes (--pid=host, hostPID: true, ProtectProc=noaccess)"
        )
    if host.own_network:
        yield (
            "this process is in a network namespace of its own: it filters and sees only the"
            " interfaces, addresses and sockets of this namespace, not the host's"
        )


def of_files(host: HostFacts) -> Iterator[Finding]:
    """Yield the findings about listeners and the files of the service."""
    if host.service is not None:
        yield Finding(Level.NOTE, host.service, "service")
    elif host.listen is not None:
        yield Finding(Level.ERROR, host.listen, "listen")
    if host.notify is not None:
        yield Finding(Level.ERROR, host.notify, "listen")
    if host.secrets is not None:
        yield Finding(Level.ERROR, host.secrets, "listen")
    if host.cgroups is not None:
        yield Finding(Level.ERROR, host.cgroups, "proof")
    if host.samples is not None and not missing_to_load(host):
        yield Finding(Level.WARNING, f"no packets will be sampled: {host.samples}", "samples")
    for sentence in host.lists:
        yield Finding(Level.WARNING, sentence, "lists")
    for path in host.read_only:
        yield Finding(
            Level.ERROR,
            f"nothing can be written to {path}: {READ_ONLY}; or choose another --control or"
            " --state",
            "directories",
        )
    for path in host.unwritable:
        yield Finding(
            Level.ERROR,
            f"this process cannot make or write to {path}: run `xdpctl prepare` as root, or choose"
            " another --control or --state",
            "directories",
        )


def of_parts(host: HostFacts) -> Iterator[Finding]:
    """Yield the findings about the compiler and the libraries."""
    for sentence, topic, fine in (
        (host.compiler, "compiler", "BCC compiles the filter"),
        (host.libraries, "libraries", "libbpf and the Python packages are installed"),
    ):
        if sentence is not None:
            yield Finding(Level.ERROR, sentence, topic)
        else:
            yield Finding(Level.OK, fine, topic)


def of_jit(host: HostFacts) -> Iterator[Finding]:
    """Yield a warning if the kernel interprets programs."""
    if host.jit is False:
        yield Finding(
            Level.WARNING,
            "the kernel interprets BPF programs, which costs several times as much for each"
            " packet: switch the compiler on (sysctl net.core.bpf_jit_enable=1)",
            "jit",
        )


def of_directory(facts: Facts) -> Iterator[Finding]:
    """Yield the findings about the BPF file system and the pin directory."""
    place = facts.directory
    if place.error:
        yield Finding(Level.ERROR, place.error, "pins")
        return
    if not place.bpffs and not place.mountable:
        yield Finding(
            Level.ERROR,
            f"{place.path} is not on a BPF file system: choose a --pin-dir below /sys/fs/bpf, or"
            " mount one there (mount -t bpf -o mode=0700 bpf DIRECTORY)",
            "pins",
        )
    elif not place.bpffs and "CAP_SYS_ADMIN" in facts.host.missing:
        yield Finding(
            Level.ERROR,
            "no BPF file system is mounted at /sys/fs/bpf, and this process cannot mount one:"
            " run `xdpctl prepare` as root",
            "pins",
        )
    elif not place.bpffs:
        yield Finding(
            Level.OK,
            "no BPF file system is mounted at /sys/fs/bpf: the service will mount one",
            "pins",
        )
    elif not place.exists:
        yield Finding(Level.OK, f"{place.path} does not exist: the service will make it", "pins")
    else:
        yield Finding(Level.OK, f"{place.path} exists", "pins")
    yield from _trust(place)
    yield from _owner(facts)


def _trust(place: DirectoryFacts) -> Iterator[Finding]:
    """Yield the findings about what may be written there, and by whom."""
    if place.read_only is not None:
        yield Finding(
            Level.ERROR, f"nothing can be pinned below {place.read_only}: {READ_ONLY}", "pins"
        )
    if place.foreign:
        yield Finding(
            Level.WARNING,
            f"{place.foreign}: only a service that runs as this user will use {place.path}; set"
            " --pin-owner to the user, or give the directory to root (chown root)",
            "pins",
        )
    if place.anybody:
        yield Finding(
            Level.NOTE,
            "every user can make directories in this BPF file system, and the service refuses"
            " directories that other users made: run chmod 0711 /sys/fs/bpf, and mount it with -o"
            " mode=0700 in future",
            "pins",
        )


def _owner(facts: Facts) -> Iterator[Finding]:
    """Yield the findings about the owner of the directory."""
    place, policy = facts.directory, facts.policy
    if policy.uid is None and place.owner[0] == 0:
        yield Finding(
            Level.NOTE,
            "without --pin-owner, root owns the directory and the pins: a dnsdist that runs as"
            " another user cannot open them",
            "pins",
        )
    elif not _owned(place.owner, policy) and "CAP_CHOWN" in facts.host.missing:
        yield Finding(
            Level.ERROR,
            f"{place.path} does not have the owner of --pin-owner, and this process cannot change"
            " that: run `xdpctl prepare` as root",
            "pins",
        )


def of_pin(facts: Facts, pin: PinFacts) -> Iterator[Finding]:
    """Yield the findings about one pin of the settings."""
    if pin.error:
        yield Finding(Level.ERROR, pin.error, pin.name)
    elif pin.capacity is None:
        return
    elif pin.capacity != pin.entries:
        yield Finding(
            Level.WARNING,
            f"{pin.name} has room for {pin.capacity} entries, but the settings ask for"
            f" {pin.entries}: {_remedy(pin.name, pin.entries, pin.capacity)}",
            pin.name,
        )
    else:
        yield Finding(Level.OK, f"{pin.name} has the right layout", pin.name)
    if pin.capacity is not None and facts.policy.asks and not _as_asked(pin, facts.policy):
        yield Finding(
            Level.WARNING,
            f"{pin.name} has owner {pin.owner[0]}:{pin.owner[1]} and mode {pin.mode:04o}, which"
            " differ from --pin-owner and --pin-mode: the service sets them when it starts, so"
            " start it before dnsdist",
            pin.name,
        )


def _remedy(name: str, entries: int, capacity: int) -> str:
    if name in RULE_MAPS and entries > capacity:
        return f"run `xdpctl resize {name}={entries}` while the service runs"
    return "to change it, stop the programs that use it and remove the pin"


def _owned(owner: tuple[int, int], policy: PinPolicy) -> bool:
    return policy.uid in (None, owner[0]) and policy.gid in (None, owner[1])


def _as_asked(pin: PinFacts, policy: PinPolicy) -> bool:
    return _owned(pin.owner, policy) and pin.mode == policy.mode
