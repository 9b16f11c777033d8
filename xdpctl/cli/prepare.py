"""`prepare`: the root part of a start, so that the service itself need not be root.

Mounts the BPF file system, makes the directories of pins, control socket and state,
sets their owners. Takes the service's own options; doing it again changes nothing.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import XdpctlError
from xdpctl.kernel.pins import (
    MOUNT_POINT,
    OWN_DIRECTORY,
    PinPolicy,
    ensure_bpffs,
    ensure_directory,
)
from xdpctl.settings import Settings, add_service_options, settings_from

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

_DIRECTORY_MODE = 0o750


def _run(arguments: argparse.Namespace, session: Session) -> int:
    settings = settings_from(arguments, session.environ, require_interface=False)
    if os.geteuid() != 0:
        raise XdpctlError(
            "cannot prepare this host: mounting and giving directories away is root's; run"
            " `xdpctl prepare` as root (sudo)"
        )
    done = []
    for step in steps(settings):
        done.append(step)
        if not arguments.json:
            session.say(step)
    if arguments.json:
        session.document({"done": done})
    return 0


def steps(settings: Settings, own_directory: Path = OWN_DIRECTORY) -> Iterator[str]:
    """Do one step after the other; yield what each did.

    Raises:
        PinError, XdpctlError: a step cannot be done; those before it are.
    """
    mounted = ensure_bpffs(settings.pin_dir)
    yield (
        f"mounted a BPF file system at {MOUNT_POINT}"
        if mounted
        else f"{settings.pin_dir} is on a BPF file system already"
    )
    owner = settings.pin_owner
    policy = PinPolicy(
        None if owner is None else owner.uid,
        None if owner is None else owner.gid,
        settings.pin_mode,
    )
    for path, wanted in ((settings.pin_dir, policy), (own_directory, PinPolicy())):
        before = _look(path)
        ensure_directory(path, wanted)
        yield _change(path, before)
    for path, gid in (
        (settings.control.parent, settings.control_group),
        (settings.state.parent, None),
    ):
        before = _look(path)
        _ensure_plain_directory(path, gid)
        yield _change(path, before)


def _ensure_plain_directory(path: Path, gid: int | None) -> None:
    """Make a directory, 0750, where it is missing; what exists keeps owner and mode but a group.

    Raises:
        XdpctlError: it cannot be made.
    """
    try:
        if not path.is_dir():
            path.mkdir(mode=_DIRECTORY_MODE, parents=True)
        if gid is not None and path.stat().st_gid != gid:
            os.chown(path, -1, gid)
    except OSError as error:
        raise XdpctlError(
            f"cannot make the directory {path}: {error.strerror}; move away what is there, or"
            " choose another --control or --state"
        ) from error


def _look(path: Path) -> tuple[int, int, int] | None:
    """Return mode, owner and group; None where nothing is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def _change(path: Path, before: tuple[int, int, int] | None) -> str:
    after = _look(path)
    if after is None or after == before:
        return f"{path} is as it must be already"
    mode, uid, gid = after
    verb = "made" if before is None else "changed"
    return f"{verb} {path}: owner {uid}:{gid}, mode {mode:04o}"


VERBS = (
    Verb(
        "prepare",
        "do what needs root before a start: mount, directories, owners",
        add_service_options,
        _run,
        plain=False,
    ),
)
