"""The entry point of `xdpctl` and `python -m xdpctl`: runs a verb, or else the service.

Owns exit statuses and the output of errors: one sentence as the last line on standard error, and a
traceback only with `--log-level debug`. Imports only what the verb needs: a verb never loads the
service, and the service never loads a verb. Does not own what a verb or the service does. Called
by the command and by __main__.py.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING

from xdpctl import __version__
from xdpctl.errors import ServiceUnreachableError, SettingsError, UsageError, XdpctlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.cli.verb import Verb
    from xdpctl.settings import Settings

FAMILIES: dict[str, str] = {
    "block": "block",
    "allow": "block",
    "unblock": "block",
    "list": "listing",
    "status": "status",
    "top": "top",
    "watch": "watch",
    "test": "test",
    "history": "history",
    "import": "importing",
    "lists": "lists",
    "publish": "publish",
    "unpublish": "publish",
    "limits": "limits",
    "prove": "limits",
    "unprove": "limits",
    "export": "export",
    "flush": "flush",
    "resize": "resize",
    "panic": "panic",
    "resume": "panic",
    "check": "check",
    "prepare": "prepare",
    "detach": "detach",
    "attach": "attach",
    "completion": "completion",
}
"""Each verb, and the module in verbs/ whose VERBS define it, in the order of the help."""

SYNONYMS = {
    "block": ("add", "ban", "deny", "drop", "reject", "blacklist"),
    "allow": ("permit", "accept", "pass", "whitelist"),
    "unblock": ("del", "delete", "remove", "rm", "unban", "undo"),
    "list": ("show", "ls", "rules", "get"),
    "status": ("stat", "stats", "info", "state"),
    "test": ("why", "match", "lookup"),
    "watch": ("tcpdump", "tail", "follow", "capture"),
    "history": ("log", "logs", "audit", "events"),
    "import": ("load", "read"),
    "export": ("dump", "save"),
    "lists": ("feeds", "refresh"),
    "publish": ("share", "announce", "distribute"),
    "unpublish": ("withdraw", "retract"),
    "resize": ("capacity", "grow", "enlarge"),
}
"""What other programs call a verb; an unknown word among these is answered with ours."""

_OF_SERVICE = {
    **dict.fromkeys(
        ("service", "start", "run", "serve", "daemon"),
        "without a verb, xdpctl is the service: `xdpctl --interface NAME`, or `systemctl start"
        " xdpctl` (`xdpctl help service` shows its options)",
    ),
    **dict.fromkeys(
        ("stop", "restart", "reload", "enable", "disable"),
        "the service is stopped, restarted and reloaded by what started it (`systemctl reload"
        " xdpctl`)",
    ),
}
"""What is said of words that are about the service itself."""

NEVER_SUGGESTED = frozenset({"detach", "flush", "panic", "resume"})
"""Verbs that end or change protection at once: nobody is led to them by a typing error."""

_OUTPUT_FAILS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of writing to standard output; the verbs catch the other errors of files."""

_TERMINAL_GONE = 129
_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""What a shell shows for a program that SIGHUP, SIGINT or SIGPIPE has ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    Args:
        argv: the arguments after the program's name; None: those of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _ready_streams()
    try:
        try:
            status = _run(arguments)
        except SystemExit as stop:  # argparse has printed the help
            status = stop.code if isinstance(stop.code, int) else 0
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_output()
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        _give_up_output()
        return _INTERRUPTED
    except XdpctlError as error:
        _give_up_output()
        if _debugging(arguments):
            traceback.print_exc()
        _complain(error.sentence)
        if "--json" in arguments:
            _document(error)
        return error.exit_status
    except OSError as error:
        return _output_failed(error, debugging=_debugging(arguments))
    except Exception as error:  # noqa: BLE001 - the last resort: never a traceback
        _give_up_output()
        _last_resort(error, debugging=_debugging(arguments))
        return 1
    return status


def _run(arguments: list[str]) -> int:
    match arguments:
        case ["-h" | "--help", *_] | ["help"]:
            return _help()
        case ["help", str(name), *_]:
            return _help(name)
        case ["-V" | "--version" | "version", *_]:
            print(f"xdpctl {__version__}")  # noqa: T201 - the output of --version
            return 0
        case [str(name), *rest] if not name.startswith("-"):
            return _run_verb(name, rest)
        case _:
            return _serve(arguments)


def _run_verb(name: str, rest: list[str]) -> int:
    from xdpctl.cli.verb import Session  # noqa: PLC0415 - the service does not need it

    verb = find(name)
    arguments = verb.parser().parse_args(rest)
    if verb.for_programs or arguments.json:
        _write_utf8()
    try:
        return verb.run(arguments, Session(sys.stdout, sys.stderr, os.environ))
    except ServiceUnreachableError as error:
        from xdpctl.cli.leftover import without_service  # noqa: PLC0415 - only without a service

        raise without_service(error) from error


def find(name: str) -> Verb:
    """Return the verb of this name.

    Raises:
        UsageError: there is no such verb; suggests a similar one.
    """
    if name in FAMILIES:
        family = import_module(f"xdpctl.cli.verbs.{FAMILIES[name]}")
        verbs: tuple[Verb, ...] = family.VERBS
        return next(verb for verb in verbs if verb.name == name)
    raise UsageError(f"cannot run {name!r}: there is no such verb; {_meant(name)}")


def _meant(name: str) -> str:
    """Return what was probably meant by a word that is no verb, as the end of a sentence."""
    from difflib import get_close_matches  # noqa: PLC0415 - only to help with a typing error

    known = {word: verb for verb, words in SYNONYMS.items() for word in words}
    if name.lower() in known:
        return f"did you mean `{known[name.lower()]}`?"
    if name.lower() in _OF_SERVICE:
        return _OF_SERVICE[name.lower()]
    if os.path.exists(f"/sys/class/net/{name}") and "/" not in name:  # noqa: PTH110 - no Path here
        return f"{name} is an interface: `xdpctl --interface {name}` starts the service on it"
    if _is_target(name):
        return f"`xdpctl list {name}` shows its rules, `xdpctl block --help` how to block it"
    words = [*(verb for verb in FAMILIES if verb not in NEVER_SUGGESTED), "help", "version"]
    near = get_close_matches(name.lower(), words, 1)
    return f"did you mean `{near[0]}`?" if near else "see `xdpctl --help`"


def _is_target(word: str) -> bool:
    """Return whether a word in the place of a verb is an address, prefix or name with a dot."""
    from xdpctl.errors import TargetError  # noqa: PLC0415 - only to help with a mistake
    from xdpctl.rules import parse_target  # noqa: PLC0415 - the same

    with suppress(TargetError):
        return not {".", ":"}.isdisjoint(word.strip(".")) and parse_target(word) is not None
    return False


def _serve(arguments: list[str]) -> int:
    from xdpctl.service.bootstrap import begin  # noqa: PLC0415 - the verbs do not need it

    with begin(lambda: _load(arguments)) as begun:
        from xdpctl.service.service import run_service  # noqa: PLC0415 - while the filter compiles

        return run_service(begun)


def _load(arguments: list[str]) -> Settings:
    """Return the settings of the service.

    Raises:
        UsageError: they are not valid, or a verb stands behind its options.
    """
    from xdpctl.process.command_line import SOURCE  # noqa: PLC0415 - the verbs do not need it
    from xdpctl.settings import load_settings  # noqa: PLC0415 - the same

    try:
        return load_settings(arguments, os.environ)
    except SettingsError as error:
        verb = next((word for word in arguments if word in FAMILIES), None)
        if verb is None or error.source != SOURCE:
            raise
        raise UsageError(
            f"cannot run {verb!r} behind options: the verb comes first, its options follow"
            f" (`xdpctl {verb} --help` shows them)"
        ) from error


def _help(name: str = "") -> int:
    """Write the help of a verb, of the service, or the list of verbs."""
    from xdpctl.cli import help as texts  # noqa: PLC0415 - few command lines ask for help

    if not name:
        text = texts.overview({each: find(each).summary for each in FAMILIES})
    elif name == "service":
        text = texts.service_options()
    else:
        text = find(name).parser().format_help()
    sys.stdout.write(text)
    return 0


def _complain(sentence: str) -> None:
    from xdpctl.cli.render import printable  # noqa: PLC0415 - the service rarely complains

    with suppress(OSError):
        sys.stderr.write(f"xdpctl: {printable(sentence)}\n")


def _document(error: XdpctlError) -> None:
    """Write the error as the document that `--json` asks for, so that scripts can tell it."""
    import json  # noqa: PLC0415 - the service does not need it

    found = {"error": {"code": error.code, "sentence": str(error.sentence)}}
    with suppress(OSError):
        sys.stdout.write(f"{json.dumps(found, ensure_ascii=False, indent=2)}\n")
        sys.stdout.flush()


def _last_resort(error: Exception, *, debugging: bool) -> None:
    if debugging:
        traceback.print_exc()
        helps = "report it to the project with the lines above"
    else:
        helps = "run it again with --log-level debug and report the output to the project"
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    _complain(f"xdpctl failed with an unexpected error ({what}); this is a bug: {helps}")


def _debugging(arguments: list[str]) -> bool:
    """Return whether tracebacks are wanted, without a parser, because it may be what failed."""
    pairs = pairwise(arguments)
    return (
        "--log-level=debug" in arguments
        or ("--log-level", "debug") in pairs
        or os.environ.get("XDPCTL_LOG_LEVEL") == "debug"
    )


def _ready_streams() -> None:
    """Open closed streams, and let them write characters beyond their encoding as codes."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the program that started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _write_utf8() -> None:
    """Write UTF-8 from now on: only tables, which people read, follow the locale."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8")


def _output_failed(error: OSError, *, debugging: bool) -> int:
    """Say what is wrong with standard output, unless its terminal was closed; return the status."""
    gone = error.errno == errno.EIO and _writes_to_a_terminal()
    _give_up_output()
    if gone:
        return _TERMINAL_GONE
    if error.errno not in _OUTPUT_FAILS:
        _last_resort(error, debugging=debugging)
    else:
        _complain(f"cannot write the output: {error.strerror}; free some space and try again")
    return 1


def _writes_to_a_terminal() -> bool:
    """Return whether standard output is one, or was before it was closed."""
    try:
        return stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _give_up_output() -> None:
    """Write the buffered output if possible, else drop it.

    Standard output then leads to /dev/null, so that the interpreter's last flush succeeds.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            descriptor = sys.stdout.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
