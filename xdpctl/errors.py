"""Every error this project raises, as one tree.

An error is one sentence for an operator: what was tried, what happened, what
helps. It carries the exit status that a program ending because of it has.
Foreign exceptions stop at the module that imports the foreign library and
leave it as one of these.

    XdpctlError                      1
    ├── UsageError                   2  bad option, environment, TOML
    │   └── SettingsError               names the option, variable or key
    ├── TargetError                     no such target or rule; carries its text
    ├── KernelError                     a system call failed; carries errno
    │   ├── MapFullError                E2BIG, ENOSPC, ENOMEM on an insert
    │   └── MapFrozenError              EPERM, as the map takes no more writes
    ├── PinError                        bpffs, pin directory, layout of a pin
    ├── CompilerError                   BCC missing, program does not compile
    ├── VerifierError                   the kernel refused the program
    ├── SelfTestError                   the program judges a test packet wrongly
    ├── InterfaceError                  unknown interface, driver refuses
    │   └── ForeignProgramError         another's program is attached
    ├── ConflictError                   the entry is another's (HTTP 409)
    │   └── GuardError                  a Drop that needs --force
    ├── NotFoundError                   nothing there to remove (HTTP 404)
    ├── StateError                      the state file cannot be used
    ├── ListError                       a list's file cannot be used
    ├── ForeignFileError                a file that others can exchange
    │   └── IrregularFileError          not a regular file
    ├── ListenError                     socket or port cannot be used
    └── ServiceUnreachableError      3  no service on the control socket
"""

from __future__ import annotations

import errno as errno_module
import os
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_SYMBOLS = {**errno_module.errorcode, errno_module.EOPNOTSUPP: "EOPNOTSUPP"}
"""Symbols of errno, that of 95 as the kernel writes it (Python says ENOTSUP)."""


class Sentence(str):
    """A sentence that quotes what a file holds, and the same without the quotation.

    The log and the control socket show the whole. What anybody may read shows `public`:
    who can choose the file must not see what is in it (http/).
    """

    __slots__ = ("public",)

    public: str

    def __new__(cls, whole: str, public: str) -> Self:
        """Return a sentence with its public form."""
        sentence = super().__new__(cls, whole)
        sentence.public = public
        return sentence

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # pickle asks it
        return str(self), self.public


def public(sentence: str) -> str:
    """Return a sentence as anybody may read it."""
    return sentence.public if isinstance(sentence, Sentence) else sentence


def within(frame: Callable[[str], str], sentence: str) -> str:
    """Return a longer sentence made of this one, which quotes no more in public than it."""
    whole = frame(sentence)
    return Sentence(whole, frame(sentence.public)) if isinstance(sentence, Sentence) else whole


class XdpctlError(Exception):
    """One sentence for an operator, with the exit status it leads to."""

    exit_status = 1

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle what it is, not how it was made: constructors differ."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[XdpctlError], args: tuple[object, ...], fields: dict[str, object]) -> object:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class UsageError(XdpctlError):
    """What was typed, set or configured cannot be meant."""

    exit_status = 2


class SettingsError(UsageError):
    """An option, environment variable or key of the TOML file is not valid."""

    def __init__(self, sentence: str, *, source: str = "") -> None:
        super().__init__(sentence)
        self.source = source


class TargetError(XdpctlError):
    """A target, query type or rule line is refused; carries its text.

    `field` is the field of an API rule that the text came from, `line` the number of the
    line where it stands in a text.
    """

    line: int | None = None

    def __init__(self, sentence: str, *, text: str, field: str = "target") -> None:
        super().__init__(sentence)
        self.text = text
        self.field = field

    def at_line(self, number: int) -> TargetError:
        """Return the error as that of a line of a text."""
        error = TargetError(f"line {number}: {self.sentence}", text=self.text, field=self.field)
        error.line = number
        return error


class KernelError(XdpctlError):
    """A system call failed.

    Args:
        tried: what was tried, as the start of a sentence ("cannot open map X").
        number: the errno.
        helps: what helps, as the end of the sentence; may be empty.

    `done` is set by a bulk operation: entries it had dealt with before it failed.
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
        """The errno's symbol: EPERM, E2BIG, …"""
        return _SYMBOLS.get(self.errno, str(self.errno))


class MapFullError(KernelError):
    """A map took no further entry; carries the map's name and capacity."""

    def __init__(self, tried: str, number: int, *, map_name: str, capacity: int) -> None:
        super().__init__(
            tried,
            number,
            f"{map_name} is full at {capacity} entries: remove rules, or stop every user of"
            f" the pin, remove it and start with --map-size {map_name}=N",
        )
        self.map_name = map_name
        self.capacity = capacity


class MapFrozenError(KernelError):
    """A write to a map that its user has frozen (BPF_MAP_FREEZE), which nothing undoes."""

    def __init__(self, tried: str, *, map_name: str) -> None:
        helps = frozen_map(map_name)
        super().__init__(tried, errno_module.EPERM, helps)
        self.sentence = f"{tried}: {helps}"  # the errno would say what it is not: a right missing
        self.args = (self.sentence,)
        self.map_name = map_name


def frozen_map(name: object) -> str:
    """Return the sentence about a map that is frozen, by its name or pin."""
    return (
        f"the map {name} is frozen: its entries act, and nobody can change them any more; stop"
        " every program that uses it, remove the pin, start them again"
    )


class PinError(XdpctlError):
    """The BPF file system, the pin directory or a pin is not as it must be."""


class CompilerError(XdpctlError):
    """BCC is missing, or the program does not compile."""


class VerifierError(XdpctlError):
    """The kernel refused the program; carries the verifier's log."""

    def __init__(self, sentence: str, *, log: str) -> None:
        super().__init__(sentence)
        self.log = log


class SelfTestError(XdpctlError):
    """The program was loaded and judges a packet of the self-test wrongly."""


class InterfaceError(XdpctlError):
    """An interface does not exist or cannot carry the program."""

    def __init__(self, sentence: str, *, interface: str) -> None:
        super().__init__(sentence)
        self.interface = interface


class ForeignProgramError(InterfaceError):
    """Another's XDP program is on the interface; carries its id."""

    def __init__(self, sentence: str, *, interface: str, program_id: int) -> None:
        super().__init__(sentence, interface=interface)
        self.program_id = program_id


class ConflictError(XdpctlError):
    """An entry that was not written by us stands where a rule should go."""


class GuardError(ConflictError):
    """A rule would drop what is guarded (rules/guard.py); carries its text."""

    def __init__(self, sentence: str, *, text: str) -> None:
        super().__init__(sentence)
        self.text = text


class NotFoundError(XdpctlError):
    """There is no such rule."""


class StateError(XdpctlError):
    """The state file cannot be read or written."""


class ListError(XdpctlError):
    """A list's file cannot be read, or is not what it should be."""


class ForeignFileError(XdpctlError):
    """What a path leads to is another user's, or chosen by one. A part of a sentence."""


class IrregularFileError(ForeignFileError):
    """What a path leads to is a pipe, a device or a socket."""


class ListenError(XdpctlError):
    """A socket or port cannot be used."""


class ServiceUnreachableError(XdpctlError):
    """No service answers on the control socket."""

    exit_status = 3
