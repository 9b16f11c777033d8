r"""Writes the man page: `xdpctl.8.in` with what the tables of the program and of docs/ say.

Verbs and their arguments come from the command line's own parsers, options, defaults and
variables from the table of settings, list keys, formats and lines of `import` from the tables of
docs/, which tests compare with the program. In the frame a line `.\" GENERATED: NAME` stands for
each. Owns the conversion to man(7). Called by build.py, `make man` and the tests.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from xdpctl.cli.main import FAMILIES, find  # noqa: E402 - behind the path of this clone
from xdpctl.settings.options import CONFIG, OPTIONS  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.settings.options import Option

FRAME: Final = HERE / "xdpctl.8.in"
_MARK = re.compile(r'^\.\\" GENERATED: ([a-z-]+)$', re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\([^)]*\)")


def plain(text: str) -> str:
    """Return text as man(7) shows it as it is."""
    ascii_only = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return "".join(sign if sign.isascii() else f"\\[u{ord(sign):04X}]" for sign in ascii_only)


def line(text: str) -> str:
    """Return a line of text that no request begins."""
    return f"\\&{text}" if text.startswith((".", "'")) else text


def prose(markdown: str) -> str:
    """Return a paragraph of Markdown: code and emphasis are bold, of a link its text stays."""
    parts, end = [], 0
    for found in _INLINE.finditer(markdown):
        parts.append(plain(markdown[end : found.start()]))
        code, strong, link = found.groups()
        if link is not None:
            parts.append(plain(link.replace("`", "")))
        else:
            parts.append(f"\\fB{plain(code or strong)}\\fR")
        end = found.end()
    parts.append(plain(markdown[end:]))
    return line("".join(parts).replace("\\e|", "|"))


def section(page: str, heading: str) -> str:
    """Return the text of a page of docs/ below a heading, up to the next of its level."""
    text = (ROOT / "docs" / page).read_text()
    level = heading.split(maxsplit=1)[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    if not found:
        raise ValueError(f"docs/{page} has no heading {heading!r}")
    return re.split(rf"^#{{1,{len(level)}}} ", rest, flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables in a text, headings left out."""
    for row in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        for found in row.splitlines()[2:]:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", found)[1:-1]]


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text that are neither tables nor examples."""
    for block in re.split(r"\n\s*\n", text):
        if block.strip() and not block.lstrip().startswith(("|", "```", "* ")):
            yield " ".join(block.split())


def entry(head: str, text: str) -> Iterator[str]:
    """Yield the lines of a tagged paragraph."""
    yield ".TP"
    yield head
    yield text


# --- the program ------------------------------------------------------------------------


def _flags(action: argparse.Action) -> str:
    names = [f"\\fB{plain(name)}\\fR" for name in action.option_strings]
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return ", ".join(names)
    if action.metavar is not None:
        value = str(action.metavar)
    elif action.choices is not None:
        value = "|".join(str(choice) for choice in action.choices)
    else:
        value = action.dest.upper()
    value = f"\\fI{plain(value)}\\fR"
    return f"{', '.join(names)} {value}" if names else value


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a verb but those that it shares with others."""
    shared = {option.field for option in (*OPTIONS, CONFIG)} | {"help", "json", "log_level"}
    for action in parser._actions:  # noqa: SLF001 - argparse shows its table nowhere else
        if action.dest not in shared and action.help is not argparse.SUPPRESS:
            yield action


def verbs() -> Iterator[str]:
    """Yield each verb with its arguments."""
    for name in FAMILIES:
        verb = find(name)
        parser = verb.parser()
        own = list(_arguments(parser))
        usage = " ".join(_flags(action) for action in own if not action.option_strings)
        summary = verb.summary[0].upper() + verb.summary[1:]
        yield ".TP"
        yield f"\\fB{name}\\fR {usage}".rstrip()
        yield line(f"{plain(summary)}.")
        if not verb.plain:
            yield "Takes the options of the service."
        if not own:
            continue
        yield ".RS"
        for action in own:
            help_text = (action.help or "").replace("%%", "%")
            yield from entry(_flags(action), line(plain(help_text)))
        yield ".RE"


def options() -> Iterator[str]:
    """Yield the options of the service, group by group, with defaults and variables."""
    group = ""
    for option in (*OPTIONS, CONFIG):
        if option.group != group:
            group = option.group
            yield f".SS {plain(group)}"
        yield from entry(_option(option), line(plain(f"{option.help}.")))
        given = option.default
        default = ", ".join(given) if isinstance(given, tuple) else given
        facts = [f"default {default}"] if default else []
        facts += ["read again on SIGHUP"] if option.reload else []
        yield line(plain(f"[{'; '.join([*facts, option.variable])}]"))


def _option(option: Option) -> str:
    names = [f"-{option.short}"] if option.short else []
    names.append(f"--{option.name}")
    if option.is_flag:
        names.append(f"--no-{option.name}")
    head = ", ".join(f"\\fB{plain(name)}\\fR" for name in names)
    return head if option.is_flag else f"{head} \\fI{plain(option.metavar)}\\fR"


def environment() -> Iterator[str]:
    """Yield the variable of each option."""
    for option in (*OPTIONS, CONFIG):
        kind = "a list, separated by commas" if option.is_list else option.metavar
        kind = kind or "1, true, yes, on or 0, false, no, off"
        yield from entry(
            f"\\fB{plain(option.variable)}\\fR",
            f"for \\fB{plain('--' + option.name)}\\fR: {plain(kind)}",
        )


# --- the documentation ------------------------------------------------------------------


def _table(page: str, heading: str, *labels: str) -> Iterator[str]:
    """Yield a table, its first column as tags, the others behind their labels."""
    text = section(page, heading)
    for head, *cells in rows(text):
        parts = [f"{label}{cell}" for label, cell in zip(labels, cells, strict=True) if cell]
        yield from entry(prose(head), prose("; ".join(parts)))


def list_keys() -> Iterator[str]:
    """Yield the keys of `[[list]]`."""
    yield from _table("lists.md", "## Following a file", "", "default: ")
    yield ".PP"
    yield prose("A list may be a response policy zone that is transferred from DNS servers:")
    yield from _table("lists.md", "## Following a zone", "", "default: ")


def dnsdist_keys() -> Iterator[str]:
    """Yield the keys of `[[dnsdist]]`."""
    yield from _table("dnsdist.md", "### Keys of `[[dnsdist]]`", "", "default: ")


def formats() -> Iterator[str]:
    """Yield the formats of lists."""
    yield from _table("lists.md", "## Formats", "", "left out: ")
    for text in paragraphs(section("lists.md", "## Formats")):
        yield ".PP"
        yield prose(text)


def lines() -> Iterator[str]:
    """Yield what a line of `import` and `export` is."""
    for text in paragraphs(section("reference.md", "## Lines of `import` and `export`")):
        yield ".PP"
        yield prose(text)


def settings_file() -> Iterator[str]:
    """Yield the packaged settings file, with all that it could say."""
    for text in (ROOT / "deploy" / "xdpctl.toml").read_text().splitlines():
        yield line(plain(text))


GENERATED: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "verbs": verbs,
    "options": options,
    "environment": environment,
    "list-keys": list_keys,
    "dnsdist-keys": dnsdist_keys,
    "formats": formats,
    "lines": lines,
    "settings-file": settings_file,
}


def page() -> str:
    """Return the man page."""
    return _MARK.sub(lambda mark: "\n".join(GENERATED[mark[1]]()), FRAME.read_text())


if __name__ == "__main__":
    sys.stdout.write(page())
