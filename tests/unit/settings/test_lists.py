"""`[[list]]` in the file: what it may say, and what each error names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdpctl.abi import RuleAction
from xdpctl.errors import SettingsError
from xdpctl.settings import ListFormat, ListSettings, load_settings
from xdpctl.settings.lists import lists_from

if TYPE_CHECKING:
    from pathlib import Path


def lists(folder: Path, content: str) -> tuple[ListSettings, ...]:
    """Return the lists of a file with this content."""
    path = folder / "xdpctl.toml"
    path.write_text(content, "utf-8")
    return load_settings([], {}, default_file=path, require_interface=False).lists


def refused(folder: Path, content: str) -> str:
    """Return the sentence that this content leads to."""
    with pytest.raises(SettingsError) as caught:
        lists(folder, content)
    assert caught.value.sentence.isprintable()
    return caught.value.sentence


def test_without_tables_there_are_no_lists(tmp_path: Path) -> None:
    assert lists(tmp_path, "") == ()


def test_a_file_is_enough(tmp_path: Path) -> None:
    assert lists(tmp_path, '[[list]]\nfile = "/var/lib/bad.txt"') == (
        ListSettings(
            file=tmp_path.__class__("/var/lib/bad.txt"),
            origin="list:bad.txt",
            action=None,
            format=ListFormat.AUTO,
            refresh=None,
        ),
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    content = """
    [[list]]
    file = "/a"
    origin = "list:mine"
    action = "truncate"
    format = "hosts"
    refresh = "5m"
    [[list]]
    file = "/b"
    refresh = "watch"
    """
    first, second = lists(tmp_path, content)

    assert (first.origin, first.action, first.format, first.refresh) == (
        "list:mine",
        RuleAction.TRUNCATE,
        ListFormat.HOSTS,
        300,
    )
    assert second.refresh is None


def test_a_relative_file_lies_beside_the_settings(tmp_path: Path) -> None:
    (found,) = lists(tmp_path, '[[list]]\nfile = "lists/bad.txt"')

    assert found.file == tmp_path / "lists" / "bad.txt"


def test_a_drop_that_is_said_is_told_from_one_that_is_not(tmp_path: Path) -> None:
    (said,) = lists(tmp_path, '[[list]]\nfile = "/a"\naction = "drop"')

    assert said.action is RuleAction.DROP


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("list = 1", "begin each with a line [[list]]"),
        ('list = ["/a"]', "begin each with a line [[list]]"),
        ('[list]\nfile = "/a"', "begin each with a line [[list]]"),
        ("[[list]]", "it has no file"),
        ('[[list]]\nfile = "/a"\nfiles = "/b"', "key 'files' of [[list]] number 1"),
        ('[[list]]\nfile = "/a"\nfiles = "/b"', "did you mean file?"),
        ("[[list]]\nfile = 1", "key file of [[list]] number 1"),
        ('[[list]]\nfile = ""', "it must be a path"),
        ('[[list]]\nfile = "/a"\norigin = "cli"', "the origin of a list must begin with list:"),
        ('[[list]]\nfile = "/a"\norigin = "dnsdist"', "the origin of a list must begin with list:"),
        ('[[list]]\nfile = "/a"\norigin = "list:"', "as an origin"),
        ('[[list]]\nfile = "/"', "its file's name"),
        ('[[list]]\nfile = "/a"\naction = "block"', "'block' as an action"),
        ('[[list]]\nfile = "/a"\nformat = "csv"', "one of auto, targets, cidr, hosts, rpz"),
        ('[[list]]\nfile = "/a"\nrefresh = "often"', "'often' as a duration"),
        ('[[list]]\nfile = "/a"\nrefresh = 300', "it must be a string"),
        ('[[list]]\nfile = "/a"\nformat = "rpz"\naction = "pass"', "with the action pass"),
        (
            '[[list]]\nfile = "/a/x"\n[[list]]\nfile = "/b/x"',
            "number 2 in",
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_names_it(
    tmp_path: Path, content: str, said: str
) -> None:
    assert said in refused(tmp_path, content)


toml_values = st.recursive(
    st.text() | st.integers() | st.booleans() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["file", "origin", "action", "format", "refresh"]) | st.text(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(toml_values | st.lists(st.dictionaries(st.sampled_from(["file", "origin"]), st.text())))
def test_any_value_is_lists_or_our_error(tmp_path: Path, value: object) -> None:
    try:
        found = lists_from(value, tmp_path / "x.toml", "x.toml")
    except SettingsError as error:
        assert error.sentence.isprintable()  # noqa: PT017 - both ends are right
    else:
        assert len({entry.origin for entry in found}) == len(found)
