"""`completion`: what bash, zsh or fish need to complete verbs, options and their values.

Made from the same parsers that read a command line, so that it cannot fall behind. Owns the three
scripts. Does not own any option. Called by cli/main.py, and by the build of the package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.cli.help import service_parser
from xdpctl.cli.verb import Session, Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

SHELLS = ("bash", "zsh", "fish")
_WORDS = re.compile(r"[a-z0-9]+(?:\|[a-z0-9]+)+")
"""A metavar that lists the values."""

_CLAUSE_END = re.compile(r"; |\. | \((?:default|XDPCTL_)")
"""What ends the part of a help that a shell shows."""

_NAMES = "xdpctl lists --names 2>/dev/null"
"""Prints the names of the lists: one question to the service, at most some tens of names."""

_FILES = frozenset({"PATH", "FILE", "FILE|-", "DIR"})


@dataclass(frozen=True, slots=True)
class Completed:
    """An option or argument as a shell completes it.

    Attributes:
        repeats: several values may follow.
        flags: `-n`, `--name`; empty: an argument by position.
        help: one line.
        takes: whether a value follows.
        choices: the values; empty: any.
        kind: of any value: "file", "interface", "list" (of the settings), or empty.
    """

    flags: tuple[str, ...]
    help: str
    takes: bool
    choices: tuple[str, ...]
    kind: str
    repeats: bool = False


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")


def _run(arguments: argparse.Namespace, session: Session) -> int:
    from xdpctl.cli.main import FAMILIES, find  # noqa: PLC0415 - main imports the verbs

    verbs = [find(name) for name in FAMILIES]
    session.write(script(arguments.shell, verbs))
    return 0


def script(shell: str, verbs: Sequence[Verb]) -> str:
    """Return the script for a shell.

    Args:
        shell: one of SHELLS.
        verbs: every verb, in the order of the help.
    """
    service = service_parser()
    options = {verb.name: list(_completed(verb.parser())) for verb in verbs}
    summaries = {verb.name: verb.summary for verb in verbs} | {
        "help": "show the verbs, or the arguments of one",
        "version": "print the version",
    }
    options["help"] = [Completed((), "verb", takes=True, choices=tuple(options), kind="")]
    options["version"] = []
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    lines = write(list(_completed(service)), options, summaries)
    head = "#compdef xdpctl" if shell == "zsh" else f"# made by `xdpctl completion {shell}`"
    return "\n".join([head, *lines, ""])


def _completed(parser: argparse.ArgumentParser) -> Iterator[Completed]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to list them
        if action.help == "==SUPPRESS==":
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        kind = "file" if metavar in _FILES else ""
        if action.dest in {"interface", "interfaces"}:
            kind = "interface"
        elif action.dest == "list":
            kind = "list"
        choices = tuple(str(choice) for choice in action.choices or ())
        if not choices and _WORDS.fullmatch(metavar):
            choices = tuple(metavar.split("|"))
        text = _CLAUSE_END.split(" ".join((action.help or "").replace("%%", "%").split()))[0]
        yield Completed(
            tuple(action.option_strings),
            text,
            action.nargs != 0,
            choices,
            kind,
            repeats=action.nargs in {"+", "*"},
        )


def _flags(options: Iterable[Completed]) -> list[str]:
    return [flag for option in options for flag in option.flags]


# --- bash -----------------------------------------------------------------------------


def _bash(
    service: list[Completed], verbs: dict[str, list[Completed]], _summaries: dict[str, str]
) -> Iterator[str]:
    yield "_xdpctl()"
    yield "{"
    yield "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    local verb=${COMP_WORDS[1]} words="
    yield "    COMPREPLY=()"
    yield "    [[ $COMP_CWORD -eq 1 || $verb == -* ]] && verb=-"
    yield "    case $verb:$prev in"
    for verb, options in (("-", service), *verbs.items()):
        for option in options:
            if option.flags and option.takes:
                pattern = "|".join(f"{verb}:{flag}" for flag in option.flags)
                yield f"        {pattern}) {_bash_values(option)}; return ;;"
        before = _before_lists(verb, options)
        if before:
            yield f"        {'|'.join(before)})"
            yield "            local IFS=$'\\n'"
            yield f'            COMPREPLY=($(compgen -W "$({_NAMES})" -- "$cur")); return ;;'
    yield "    esac"
    yield "    case $verb in"
    yield f'        -) words="{" ".join([*verbs, *_flags(service)])}" ;;'
    for verb, options in verbs.items():
        values = [choice for option in options if not option.flags for choice in option.choices]
        yield f'        {verb}) words="{" ".join([*values, *_flags(options)])}" ;;'
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$cur"))'
    takes_file = "|".join(
        verb
        for verb, options in verbs.items()
        if any(option.kind == "file" and not option.flags for option in options)
    )
    yield f'    case $verb in {takes_file}) COMPREPLY+=($(compgen -f -- "$cur")) ;; esac'
    yield "}"
    yield "complete -F _xdpctl xdpctl"


def _before_lists(verb: str, options: list[Completed]) -> list[str]:
    """Return `VERB:WORD` for each word behind which the name of a list follows."""
    if not any(option.kind == "list" for option in options):
        return []
    return [
        f"{verb}:{choice}" for option in options if not option.flags for choice in option.choices
    ]


def _bash_values(option: Completed) -> str:
    if option.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur"))'
    if option.kind == "file":
        return 'COMPREPLY=($(compgen -f -- "$cur"))'
    if option.kind == "interface":
        return 'COMPREPLY=($(compgen -W "$(ls /sys/class/net)" -- "$cur"))'
    return "COMPREPLY=()"


# --- zsh ------------------------------------------------------------------------------


def _zsh(
    service: list[Completed], verbs: dict[str, list[Completed]], summaries: dict[str, str]
) -> Iterator[str]:
    yield "_xdpctl()"
    yield "{"
    yield "    local -a verbs"
    yield "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then"
    yield "        verbs=("
    for verb in verbs:
        yield f"            {_quoted(f'{verb}:{summaries[verb]}')}"
    yield "        )"
    yield "        _describe verb verbs"
    yield "        return"
    yield "    fi"
    yield "    if [[ $words[2] == -* ]]; then"
    yield from _zsh_arguments(service)
    yield "        return"
    yield "    fi"
    yield "    local verb=$words[2]"
    yield "    shift words"
    yield "    (( CURRENT-- ))"
    yield "    case $verb in"
    for verb, options in verbs.items():
        yield f"        {verb})"
        yield from _zsh_arguments(options)
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield "_xdpctl_lists()"
    yield "{"
    yield "    local -a names"
    yield f'    names=("${{(@f)$({_NAMES})}}")'
    yield "    compadd -a names"
    yield "}"
    yield '_xdpctl "$@"'


def _zsh_arguments(options: list[Completed]) -> Iterator[str]:
    yield "            _arguments \\"
    place = 0
    for option in options:
        text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
        value = _zsh_value(option)
        if not option.flags:
            place += 1
            at = "*" if option.repeats else place
            yield f"                {_quoted(f'{at}:{text}:{value}')} \\"
        for flag in option.flags:
            ending = f":value:{value}" if option.takes else ""
            yield f"                {_quoted(f'*{flag}[{text}]{ending}')} \\"
    yield "                && return"


def _zsh_value(option: Completed) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    kinds = {"file": "_files", "interface": "_net_interfaces", "list": "_xdpctl_lists"}
    return kinds.get(option.kind, " ")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish -----------------------------------------------------------------------------


def _fish(
    service: list[Completed], verbs: dict[str, list[Completed]], summaries: dict[str, str]
) -> Iterator[str]:
    yield "complete -c xdpctl -f"
    for verb in verbs:
        yield (
            "complete -c xdpctl -n __fish_use_subcommand"
            f" -a {verb} -d {_fish_quoted(summaries[verb])}"
        )
    for option in service:
        yield from _fish_option("__fish_use_subcommand", option)
    for verb, options in verbs.items():
        seen = f"__fish_seen_subcommand_from {verb}"
        for option in options:
            if option.kind == "list":
                words = " ".join(each.partition(":")[2] for each in _before_lists(verb, options))
                yield (
                    f"complete -c xdpctl -n '{seen}; and __fish_seen_subcommand_from {words}'"
                    f" -a '({_NAMES})' -d {_fish_quoted(option.help)}"
                )
            else:
                yield from _fish_option(f"'{seen}'", option)


def _fish_option(condition: str, option: Completed) -> Iterator[str]:
    parts = [f"complete -c xdpctl -n {condition}"]
    parts += [f"-l {flag[2:]}" if flag[:2] == "--" else f"-s {flag[1:]}" for flag in option.flags]
    if option.choices:
        parts.append(f"{'-x' if option.flags else ''} -a '{' '.join(option.choices)}'".strip())
    elif option.kind == "file":
        parts.append("-r -F" if option.flags else "-F")
    elif option.kind == "interface" and option.flags:
        parts.append("-x -a '(ls /sys/class/net)'")
    elif option.flags and option.takes:
        parts.append("-x")
    elif not option.flags:
        return
    yield " ".join([*parts, f"-d {_fish_quoted(option.help)}"])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


VERBS = (
    Verb(
        "completion",
        "write what bash, zsh or fish need to complete xdpctl",
        _add_arguments,
        _run,
        json=False,
        examples=(
            ". <(xdpctl completion bash)",
            "xdpctl completion zsh > ~/.zfunc/_xdpctl",
            "xdpctl completion fish > ~/.config/fish/completions/xdpctl.fish",
        ),
    ),
)
