"""`completion`: scripts made from the parsers; bash completes verbs, options, values and files."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from xdpctl.cli.main import FAMILIES, find
from xdpctl.cli.verbs.completion import SHELLS, script
from xdpctl.settings.options import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import CommandLine


def made(shell: str) -> str:
    return script(shell, [find(name) for name in FAMILIES])


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_every_verb_and_every_option(cli: CommandLine, shell: str) -> None:
    text = cli("completion", shell).output
    assert text == made(shell)
    words = set(
        text.replace("'", " ").replace(":", " ").replace("*", " ").replace("[", " ").split()
    )
    assert words >= {*FAMILIES, "help", "version"}
    for option in OPTIONS:
        assert option.name in text, option.name


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_reads_its_script(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(made(shell))
    subprocess.run([program, "-n", str(tmp_path / "script")], check=True)


def test_an_unknown_shell_is_a_usage_error(cli: CommandLine) -> None:
    result = cli("completion", "tcsh")
    assert result.status == 2
    assert "bash" in result.errors


NAMES = """#!/bin/sh
[ "$*" = "lists --names" ] && printf 'drop.txt\\ndrop two\\nhosts.txt\\n' && exit
echo "xdpctl: not asked for: $*" >> asked
"""
"""Stands for `xdpctl`, and keeps every question but that for the names of lists."""


def completed(words: list[str], folder: Path) -> set[str]:
    """Return what bash offers for the last of these words."""
    (folder / "xdpctl").write_text(NAMES)
    (folder / "xdpctl").chmod(0o755)
    (folder / "script").write_text(made("bash"))
    quoted = " ".join(f"'{word}'" for word in words)
    command = (
        f"PATH=.:$PATH; . ./script; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _xdpctl;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", command], cwd=folder, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    assert not (folder / "asked").exists()
    return set(done.stdout.splitlines()) - {""}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["xdpctl", "unb"], {"unblock"}),
        (["xdpctl", "att"], {"attach"}),
        (["xdpctl", "--any"], {"--any-qtype"}),
        (["xdpctl", "block", "--act"], {"--action"}),
        (["xdpctl", "block", "--action", ""], {"drop", "truncate"}),
        (["xdpctl", "list", "--sort", "h"], {"hits"}),
        (["xdpctl", "list", "--map", "cidr"], {"cidr4", "cidr6"}),
        (["xdpctl", "completion", "z"], {"zsh"}),
        (["xdpctl", "help", "hist"], {"history"}),
        (["xdpctl", "--mode", "na"], {"native"}),
        (["xdpctl", "detach", "--interface", "lo"], {"lo"}),
        (["xdpctl", "import", "my-l"], {"my-list.txt"}),
        (["xdpctl", "block", "--reason", ""], set()),
        (["xdpctl", "block", "192"], set()),
        (["xdpctl", "unblock", "192"], set()),
        (["xdpctl", "lists", "re"], {"refresh"}),
        (["xdpctl", "lists", "refresh", "d"], {"drop.txt", "drop two"}),
        (["xdpctl", "lists", "accept", ""], {"drop.txt", "drop two", "hosts.txt"}),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], offered: set[str]) -> None:
    (tmp_path / "my-list.txt").touch()
    assert completed(words, tmp_path) == offered


def test_fish_offers_the_names_of_lists(tmp_path: Path) -> None:
    program = shutil.which("fish")
    if program is None:
        pytest.skip("fish is not installed")
    (tmp_path / "xdpctl").write_text(NAMES)
    (tmp_path / "xdpctl").chmod(0o755)
    (tmp_path / "script").write_text(made("fish"))
    ask = "set -x PATH . $PATH; source script; complete -C 'xdpctl lists refresh d'"
    done = subprocess.run(
        [program, "--no-config", "-c", ask],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    offered = {line.partition("\t")[0] for line in done.stdout.splitlines()}
    assert {"drop.txt", "drop two"} <= offered
