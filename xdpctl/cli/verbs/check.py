"""`check`: finds what would keep the service from working here, without a running service.

Takes the options of the service from the command line, the environment and the file, and changes
nothing. Does not own the checks; they are in status/checks/. Called by cli/main.py.
"""

from __future__ import annotations

import os
import pwd
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from xdpctl.cli.client import Client
from xdpctl.cli.render import printable
from xdpctl.cli.verb import Session, Verb
from xdpctl.errors import ServiceUnreachableError, XdpctlError
from xdpctl.settings import Settings, add_service_options, settings_from

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from xdpctl.status.checks.facts import Finding

_MARKS = {"ok": "ok  ", "note": "note", "warning": "warn", "error": "FAIL"}
_PATIENCE_SECONDS = 3.0


def _run(arguments: argparse.Namespace, session: Session) -> int:
    settings = settings_from(arguments, session.environ, require_interface=False)
    found = _look(settings)
    errors = sum(finding.level == "error" for finding in found)
    if arguments.json:
        session.document(
            {
                "ok": not errors,
                "findings": [
                    {
                        "level": str(finding.level),
                        "topic": finding.topic,
                        "sentence": finding.sentence,
                    }
                    for finding in found
                ],
            }
        )
    else:
        for finding in found:
            session.say(f"{_MARKS[finding.level]}  {printable(finding.sentence)}")
        session.say(_summary(settings.interfaces, found))
    return 1 if errors else 0


def _look(settings: Settings) -> list[Finding]:
    from xdpctl.kernel.bpf.syscall import Bpf  # noqa: PLC0415 - the same
    from xdpctl.kernel.net.interfaces import Netlink  # noqa: PLC0415 - the same
    from xdpctl.status.checks.report import findings  # noqa: PLC0415 - --help does not need it
    from xdpctl.status.checks.survey import Survey  # noqa: PLC0415 - the same

    survey = Survey(Bpf(), Netlink(), settings, as_the_service=lambda: _as_the_service(settings))
    facts = survey.facts(
        lambda: _compile(settings), _service(settings), lambda: _read_secrets(settings)
    )
    return findings(settings, facts)


def _compile(settings: Settings) -> None:
    """Compile the filter as the service would, in a process of its own.

    Raises:
        CompilerError: BCC is missing, is another package of that name, or fails.
    """
    from xdpctl.program.compiler import compile_program_blocking  # noqa: PLC0415 - as above
    from xdpctl.program.config import program_config  # noqa: PLC0415 - as above

    compile_program_blocking(program_config(settings))


def _read_secrets(settings: Settings) -> None:
    """Read the token and the TLS files of --listen, and the secrets of cookies.

    Raises:
        ListenError, CookieSecretError: a file cannot be used.
    """
    from xdpctl.http.transport.secrets import Secrets  # noqa: PLC0415 - as above

    with _as_the_service(settings):
        if settings.listen is not None:
            Secrets(settings.token_file, settings.tls_cert, settings.tls_key).read()
        if settings.cookie_secret_file is not None:
            from xdpctl.limits.cookies import read_cookie_secrets  # noqa: PLC0415 - as above

            read_cookie_secrets(settings.cookie_secret_file)


@contextmanager
def _as_the_service(settings: Settings) -> Iterator[None]:
    """As root, be the service's user for a while: the owner of the state's directory."""
    with ExitStack() as stack:
        with suppress(OSError):
            found = settings.state.parent.stat()
            if os.geteuid() == 0 and found.st_uid != 0:
                user, group = found.st_uid, found.st_gid
                stack.callback(os.setgroups, os.getgroups())
                os.setgroups(_groups_of(user, group))
                stack.callback(os.setegid, os.getegid())
                os.setegid(group)
                stack.callback(os.seteuid, 0)
                os.seteuid(user)
        yield


def _groups_of(user: int, group: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        return [group]


def _service(settings: Settings) -> str | None:
    """Return a sentence about the service on the control socket; None if there is none."""
    try:
        answer = Client(settings.control, _PATIENCE_SECONDS).get("/api/v1/status")
    except ServiceUnreachableError:
        return None
    except XdpctlError as error:
        return f"a service may be running: {error.sentence}"
    return (
        f"a service is running (pid {answer.get('pid')}) and uses the control socket and the"
        " address of --listen"
    )


def _summary(interfaces: Sequence[str], found: Sequence[Finding]) -> str:
    errors = sum(finding.level == "error" for finding in found)
    warnings = sum(finding.level == "warning" for finding in found)
    also = f", {_number(warnings, 'warning')}" if warnings else ""
    where = f"on {', '.join(interfaces)}" if interfaces else "on this host (no --interface given)"
    if errors:
        return f"the service cannot work {where}: {_number(errors, 'error')}{also}"
    return f"the service can work {where}{also}"


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


VERBS = (
    Verb(
        "check",
        "find what would keep the service from working here",
        add_service_options,
        _run,
        plain=False,
        examples=("xdpctl check --interface eth0",),
    ),
)
