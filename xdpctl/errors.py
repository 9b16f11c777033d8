"""Every error this project raises, as one tree.

An error is one sentence for an operator: what was tried, what happened, what
helps. It carries the exit status of a program that ends because of it.
The module that imports a foreign library catches its exceptions and raises one of
these instead.

    XdpctlError                      1
    ├── UsageError                   2  bad option, environment, TOML
    │   └── SettingsError               names the option, variable or key
    ├── TargetError                     target or rule that cannot be read; carries its text
    ├── KernelError                     a system call failed; carries errno
    │   ├── MapFullError                E2BIG, ENOSPC, ENOMEM on an insert
    │   │   └── TableFullError          our own tables, which then grow
    │   └── MapFrozenError              EPERM, because the map is frozen
    ├── PinError                        bpffs, pin directory, layout of a pin
    ├── CompilerError                   BCC missing, program does not compile
    ├── VerifierError                   the kernel refused the program
    ├── SelfTestError                   the program gives a test packet the wrong verdict
    ├── InterfaceError                  unknown interface, driver refuses
    │   └── ForeignProgramError         a foreign XDP program is attached
    ├── ConflictError                   the entry belongs to another writer (HTTP 409)
    │   └── GuardError                  a Drop that needs --force
    ├── NotFoundError                   no such rule or program (HTTP 404)
    ├── StateError                      the state file cannot be used
    ├── ListError                       a list cannot be used
    │   ├── EmptyListError              it has no rule
    │   ├── ShrunkListError             it lost more of its rules than it may
    │   └── WideListError               its prefixes cover more than they may
    ├── TransferError                   a zone transfer that cannot be used
    ├── PublishError                    a primary does not take a DNS UPDATE (HTTP 502)
    ├── DnsdistError                    dnsdist's dynamic blocks cannot be read
    ├── ForeignFileError                a file that another user can replace
    │   └── IrregularFileError          not a regular file
    ├── ListenError                     socket or port cannot be used
    ├── CookieSecretError               the secrets of DNS cookies cannot be used
    ├── NoSamplesError                  no packets are sampled here (HTTP 503)
    ├── ReadersError                    too many look at samples (HTTP 429)
    ├── ReceiverError                   a file or receiver of samples that cannot be used
    └── ServiceUnreachableError      3  no service on the control socket

Owns the classes, their exit statuses and fields. Does not own the sentences, which the raising
module writes, or how they are shown (cli/main.py, http/problems.py). Used by every room.
"""

from __future__ import annotations

import errno as errno_module
import os

TYPE_CHECKING = False  # `typing` itself would cost the loader some megabytes
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_SYMBOLS = {**errno_module.errorcode, errno_module.EOPNOTSUPP: "EOPNOTSUPP"}
"""Names of the errno values; 95 has the kernel's name, where Python uses ENOTSUP."""


class Sentence(str):
    """A sentence that quotes the content of a file, with a second form that does not.

    The log and the control socket show the full sentence. Documents that need no permission
    show `public`, so that a user who can choose the file cannot read its content (http/).
    """

    __slots__ = ("public",)

    public: str

    def __new__(cls, whole: str, public: str) -> Self:
        """Return the full sentence, with its public form."""
        sentence = super().__new__(cls, whole)
        sentence.public = public
        return sentence

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # called by pickle
        return str(self), self.public


def public(sentence: str) -> str:
    """Return the form of a sentence that anybody may read."""
    return sentence.public if isinstance(sentence, Sentence) else sentence


def within(frame: Callable[[str], str], sentence: str) -> str:
    """Return `frame(sentence)`; its public form is made from the public form of `sentence`."""
    whole = frame(sentence)
    return Sentence(whole, frame(sentence.public)) if isinstance(sentence, Sentence) else whole


class XdpctlError(Exception):
    """One sentence for an operator, with the exit status that follows.

    `code` tells scripts what kind of error it is: `--json` and problem documents show it.
    """

    exit_status = 1
    code = "failed"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle class, arguments and fields, because the constructors differ."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[XdpctlError], args: tuple[object, ...], fields: dict[str, object]) -> object:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class UsageError(XdpctlError):
    """A command line, environment or configuration file that cannot be used."""

    exit_status = 2
    code = "usage"


class SettingsError(UsageError):
    """An option, environment variable or key of the TOML file is not valid."""

    def __init__(self, sentence: str, *, source: str = "") -> None:
        super().__init__(sentence)
        self.source = source


class TargetError(XdpctlError):
    """A target, query type or rule line cannot be used; carries its text.

    `field` is the field of the API rule that the text came from, `line` the number of its
    line in a file.
    """

    code = "target"

    line: int | None = None

    def __init__(self, sentence: str, *, text: str, field: str = "target") -> None:
        super().__init__(sentence)
        self.text = text
        self.field = field

    def at_line(self, number: int) -> TargetError:
        """Return the same error with the number of its line."""
        error = TargetError(f"line {number}: {self.sentence}", text=self.text, field=self.field)
        error.line = number
        return error


class KernelError(XdpctlError):
    """A system call failed.

    Args:
        tried: what was tried, as the start of a sentence ("cannot open map X").
        number: the errno.
        helps: what helps, as the end of the sentence; may be empty.

    `done` is set by a bulk operation: the entries that it had written before it failed.
    """

    done = 0

    def __init__(self, tried: str, number: int, helps: str = "") -> None:
        name = _SYMBOLS.get(number, str(number))
        sentence = f"{tried}: {os.strerror(number)} ({name})"
        super().__init__(f"{sentence}; {helps}" if helps else sentence)
        self.tried = tried
        self.errno = number
        self.helps = helps

    @property
    def symbol(self) -> str:
        """The name of the errno: EPERM, E2BIG, …"""
        return _SYMBOLS.get(self.errno, str(self.errno))


class MapFullError(KernelError):
    """A map has no room for another entry; carries the map's name and capacity."""

    code = "map-full"

    def __init__(self, tried: str, number: int, *, map_name: str, capacity: int) -> None:
        super().__init__(
            tried,
            number,
            f"{map_name} is full at {capacity} entries: remove rules, or make room (`xdpctl resize"
            f" {map_name}=N`)",
        )
        self.map_name = map_name
        self.capacity = capacity


def no_room(map_name: str, *, wanted: int, free: int, capacity: int) -> MapFullError:
    """Return the error of many entries for which a map has no room; none was written."""
    error = MapFullError(
        f"cannot write to {map_name}", errno_module.E2BIG, map_name=map_name, capacity=capacity
    )
    error.sentence = (
        f"cannot add {wanted:,} entries to {map_name}: it has room for {max(0, free):,} more of"
        f" {capacity:,}, so nothing was changed; remove rules, or make room (`xdpctl resize"
        f" {map_name}={_generous(capacity - free + wanted)}`)"
    )
    error.args = (error.sentence,)
    return error


def _generous(entries: int) -> int:
    """Return a capacity for this many entries with some room to grow."""
    step = int("1".ljust(len(str(entries)) - 1, "0"))
    return -(-(entries + entries // 5) // step) * step


class TableFullError(MapFullError):
    """One of our own tables has no room for another entry; the service makes a larger one.

    `created` is set with `done`: how many of the entries written before were new.
    """

    created = 0

    def __init__(self, map_name: str, capacity: int) -> None:
        tried = f"cannot write to {map_name}"
        super().__init__(tried, errno_module.E2BIG, map_name=map_name, capacity=capacity)
        self.sentence = (
            f"{tried}: its table is full at {capacity} entries, and a larger one is not there yet;"
            " try again"
        )
        self.args = (self.sentence,)


class MapFrozenError(KernelError):
    """A write to a map that another program has frozen (BPF_MAP_FREEZE); it cannot be undone."""

    code = "map-frozen"

    def __init__(self, tried: str, *, map_name: str) -> None:
        helps = frozen_map(map_name)
        super().__init__(tried, errno_module.EPERM, helps)
        self.sentence = f"{tried}: {helps}"  # without the errno, which would suggest a permission
        self.args = (self.sentence,)
        self.map_name = map_name


def frozen_map(name: object) -> str:
    """Return the sentence about a frozen map, given its name or pin."""
    return (
        f"the map {name} is frozen: its entries stay in force and cannot be changed; stop every"
        " program that uses it, remove the pin, then start them again"
    )


class PinError(XdpctlError):
    """The BPF file system, the pin directory or a pin cannot be used."""


class CompilerError(XdpctlError):
    """BCC is missing, or the program does not compile."""


class VerifierError(XdpctlError):
    """The kernel refused the program; carries the verifier's log."""

    def __init__(self, sentence: str, *, log: str) -> None:
        super().__init__(sentence)
        self.log = log


class SelfTestError(XdpctlError):
    """The program was loaded, but gives a packet of the self-test the wrong verdict."""


class InterfaceError(XdpctlError):
    """An interface does not exist or cannot carry the program."""

    code = "interface"

    def __init__(self, sentence: str, *, interface: str) -> None:
        super().__init__(sentence)
        self.interface = interface


class ForeignProgramError(InterfaceError):
    """A foreign XDP program is attached to the interface; carries its id."""

    def __init__(self, sentence: str, *, interface: str, program_id: int) -> None:
        super().__init__(sentence, interface=interface)
        self.program_id = program_id


class ConflictError(XdpctlError):
    """The map already has an entry for this target that we did not write.

    Args:
        sentence: one sentence.
        text: the target that the rule is about, if it is about one.
    """

    code = "conflict"

    def __init__(self, sentence: str, *, text: str = "") -> None:
        super().__init__(sentence)
        self.text = text


class GuardError(ConflictError):
    """A rule on a guarded target (rules/guard.py) without --force; carries the target's text."""

    code = "guarded"


class NotFoundError(XdpctlError):
    """There is no such rule."""

    code = "not-found"


class StateError(XdpctlError):
    """The state file cannot be read or written."""

    code = "state"


class ListError(XdpctlError):
    """A list cannot be read, or is not in its format."""


class EmptyListError(ListError):
    """A list without a rule, or without a line: perhaps a download that failed."""


class ShrunkListError(ListError):
    """A list that lost more of its rules than it may: perhaps half a download."""

    code = "list"


class WideListError(ListError):
    """A list whose prefixes cover more of the address space than they may."""

    code = "list"


class TransferError(XdpctlError):
    """A primary, its key or its zone transfer cannot be used; where noted a part of a sentence."""

    code = "transfer"


class PublishError(XdpctlError):
    """A primary does not take a DNS UPDATE; where noted a part of a sentence.

    `result` is the metric's label. `maybe`: nobody knows whether it took the update.
    `unsigned`: its refusal has no good signature, so another may have sent it.
    """

    code = "publish"

    def __init__(
        self, sentence: str, result: str, *, maybe: bool = False, unsigned: bool = False
    ) -> None:
        super().__init__(sentence)
        self.result = result
        self.maybe = maybe
        self.unsigned = unsigned


class DnsdistError(XdpctlError):
    """The dynamic blocks of a dnsdist cannot be read."""


class ForeignFileError(XdpctlError):
    """A path leads to a file that another user owns or chooses. Holds a part of a sentence."""


class IrregularFileError(ForeignFileError):
    """A path leads to a pipe, a device or a socket."""


class ListenError(XdpctlError):
    """A socket or port cannot be used."""


class CookieSecretError(XdpctlError):
    """The file with the secrets of DNS cookies cannot be used."""


class NoSamplesError(XdpctlError):
    """No packets are sampled: the kernel refuses, or the settings say so."""

    code = "no-samples"


class ReadersError(XdpctlError):
    """As many look at samples as may."""

    code = "readers"


class ReceiverError(XdpctlError):
    """A file or receiver of samples cannot be used now."""

    code = "receiver"


class ServiceUnreachableError(XdpctlError):
    """No service answers on the control socket."""

    exit_status = 3
    code = "no-service"
