"""`prepare`: the part of a start that needs root, so that the service itself does not.

Mounts the BPF file system, makes the directories of pins, control socket and state, and sets their
owners. With `--service-user` it also makes the shared pins, because that user cannot give them to
the user of dnsdist. Takes the options of the service; a second run changes nothing. The
directories belong to users who can replace their content at any time, so it sets owner and mode on
opened files (kernel/paths.py), and only on files with names of ours. Called by cli/main.py.
"""

from __future__ import annotations

import argparse
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from xdpctl.cli.render import printable
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import XdpctlError
from xdpctl.kernel.bpf.pins import (
    MOUNT_POINT,
    OWN_DIRECTORY,
    PinPolicy,
    apply_policy,
    ensure_bpffs,
    ensure_directory,
    is_bpffs,
    open_pin_directory,
)
from xdpctl.kernel.paths import Opened, open_directory
from xdpctl.settings import Owner, Settings, add_service_options, parse_owner, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.syscall import Bpf

_DIRECTORY_MODE = 0o750
_PARENTS_MODE = 0o755
_GROUP_MAY = 0o060


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--service-user",
        metavar="USER[:GROUP]",
        type=_owner,
        help="user of a service that does not run as root: it becomes the owner of the"
        " directories, and prepare makes the shared pins",
    )
    add_service_options(parser)


def _owner(text: str) -> Owner:
    try:
        return parse_owner(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _run(arguments: argparse.Namespace, session: Session) -> int:
    settings = settings_from(arguments, session.environ, require_interface=False)
    if os.geteuid() != 0:
        raise XdpctlError(
            "cannot prepare this host: only root can mount and change owners; run `xdpctl"
            " prepare` as root (sudo)"
        )
    from xdpctl.kernel.bpf.syscall import Bpf  # noqa: PLC0415 - not needed for --help

    done = []
    for step in steps(settings, arguments.service_user, bpf=Bpf()):
        done.append(step)
        if not arguments.json:
            session.say(printable(step))
    if arguments.json:
        session.document({"done": done})
    elif not done:
        session.say("nothing to do: everything is prepared already")
    return 0


def steps(
    settings: Settings,
    service: Owner | None = None,
    *,
    bpf: Bpf,
    own_directory: Path = OWN_DIRECTORY,
) -> Iterator[str]:
    """Do one step after the other; yield a line for each change and each warning.

    Args:
        settings: the settings of the service.
        service: the user that it runs as; None: root.
        bpf: the kernel, where pins are made.
        own_directory: the directory of the service's own pins.

    Raises:
        PinError, KernelError, XdpctlError: a step failed; the steps before it are done.
    """
    if service is not None:
        settings = _shared_with(settings, service)
    mounted = ensure_bpffs(settings.pin_dir)
    if mounted:
        yield f"mounted a BPF file system at {MOUNT_POINT}"
    owner = settings.pin_owner
    policy = PinPolicy(
        None if owner is None else owner.uid,
        None if owner is None else owner.gid,
        settings.pin_mode,
    )
    own = PinPolicy() if service is None else PinPolicy(service.uid, service.gid)
    for path, wanted, owners in (
        (settings.pin_dir, policy, own.owners),
        (own_directory, own, ()),
    ):
        before = _status_of(path)
        ensure_directory(path, wanted, owners)
        yield from _change(path, before)
    if service is not None:
        yield from _pins(bpf, settings, own.owners)
        yield from _own_pins(own_directory, own)
    for path, gid in (
        (settings.control.parent, settings.control_group),
        (settings.state.parent, None),
    ):
        before = _status_of(path)
        _ensure_plain_directory(path, service, gid)
        yield from _change(path, before)


def _shared_with(settings: Settings, service: Owner) -> Settings:
    """Return the settings with a pin owner that lets the service's user open the shared pins.

    Raises:
        XdpctlError: with the given owner and mode, that user could not open them.
    """
    owner = settings.pin_owner
    if owner is None:
        return replace(settings, pin_owner=service)
    through_group = owner.gid == service.gid and settings.pin_mode & _GROUP_MAY == _GROUP_MAY
    if service.uid not in (0, owner.uid) and not through_group:
        raise XdpctlError(
            f"cannot share the maps between user {owner.uid} and the service's user"
            f" {service.uid}: with this --pin-owner and --pin-mode the service could not open"
            " them; use dnsdist's user with the service's group, and let the group read and"
            ' write (pin-owner = "_dnsdist:xdpctl", pin-mode = "0660")'
        )
    return settings


def _own_pins(directory: Path, own: PinPolicy) -> Iterator[str]:
    """Give our pins and locks that a service left as root to the service's user.

    Does not change anything else, nor a link or pin of another user that has such a name.
    """
    from xdpctl.filter.own_pins import is_own_lock, is_own_pin  # noqa: PLC0415 - as above

    with open_pin_directory(directory, own) as place:
        for name in place.names():
            if not is_own_lock(name) and not is_own_pin(name):
                continue
            try:
                entry = place.open(name)
            except FileNotFoundError:
                continue  # a running service has just removed it
            with entry:
                found = entry.status()
                if _is_ours(entry, found, own, lock=is_own_lock(name)):
                    before = _owner_and_mode(found)
                    apply_policy(entry, own, stat.S_IMODE(found.st_mode))
                    yield from _change_line(entry.path, before, _owner_and_mode(entry.status()))


def _is_ours(entry: Opened, found: os.stat_result, own: PinPolicy, *, lock: bool) -> bool:
    """Return whether an entry is a pin or lock to give away: ours, with a single name."""
    if found.st_uid not in (0, os.geteuid(), own.uid) or not is_bpffs(entry.link):
        return False
    if lock:
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _pins(bpf: Bpf, settings: Settings, owners: tuple[int, ...]) -> Iterator[str]:
    """Make the missing shared pins, and set the owner of all of them."""
    from xdpctl.maps.shared import SharedMaps, pins_for  # noqa: PLC0415 - only for --service-user

    paths = [settings.pin_dir / pin.name for pin in pins_for(settings)]
    before = {path: _status_of(path) for path in paths}
    with SharedMaps(bpf, settings, owners) as shared:
        shared.open()
        yield from shared.warnings
    for path in paths:
        yield from _change(path, before[path])


def _ensure_plain_directory(path: Path, service: Owner | None, gid: int | None) -> None:
    """Make a directory with mode 0750 if it is missing.

    An existing directory keeps its owner and mode and gets the group; one that everybody can
    enter (/run) keeps its group too.

    Raises:
        XdpctlError: it or a directory above it belongs to another user, it cannot be made, or
            the service's user cannot write to it.
    """
    owners = () if service is None else (service.uid,)
    try:
        with open_directory(path, owners, make=_DIRECTORY_MODE, parents=_PARENTS_MODE) as directory:
            if directory.made and service is not None:
                directory.set_owner(service.uid, service.gid)
            found = directory.status()
            if gid not in (None, found.st_gid) and not found.st_mode & stat.S_IXOTH:
                directory.set_owner(-1, gid)
    except OSError as error:
        raise XdpctlError(
            f"cannot make the directory {path}: {error.strerror}; move the file there away, or"
            " choose another --control or --state"
        ) from error
    if service is not None and not _writable(found, service):
        raise XdpctlError(
            f"the service's user {service.uid} cannot write to {path}, which belongs to user"
            f" {found.st_uid}: change its owner (chown -R {service.uid}:{service.gid} {path}), or"
            " choose another --control or --state"
        )


def _writable(found: os.stat_result, service: Owner) -> bool:
    """Return whether the mode of a directory lets the user make files in it."""
    if found.st_uid == service.uid:
        return True
    needed = stat.S_IWGRP | stat.S_IXGRP if found.st_gid == service.gid else 0o003
    return found.st_mode & needed == needed


def _status_of(path: Path) -> tuple[int, int, int] | None:
    """Return mode, owner and group; None if nothing is there."""
    try:
        return _owner_and_mode(path.stat())
    except OSError:
        return None


def _owner_and_mode(found: os.stat_result) -> tuple[int, int, int]:
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def _change(path: Path, before: tuple[int, int, int] | None) -> Iterator[str]:
    yield from _change_line(path, before, _status_of(path))


def _change_line(
    path: Path, before: tuple[int, int, int] | None, after: tuple[int, int, int] | None
) -> Iterator[str]:
    """Yield a line if something has changed; control characters in the path are escaped."""
    if after is not None and after != before:
        mode, uid, gid = after
        verb = "made" if before is None else "changed"
        yield f"{verb} {printable(str(path))}: owner {uid}:{gid}, mode {mode:04o}"


VERBS = (
    Verb(
        "prepare",
        "do what needs root before a start: mounts, directories, owners",
        _add_arguments,
        _run,
        plain=False,
        examples=(
            "xdpctl prepare --interface eth0",
            "xdpctl prepare --service-user 990:990",
        ),
    ),
)
