"""An error says what text that is not a target was probably meant to be."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.errors import TargetError
from xdpctl.rules import parse_target
from xdpctl.rules.meant import meant
from xdpctl.rules.targets import parse_network

ONE = {
    "http://x.example/y": "x.example",
    "HTTPS://x.example": "x.example",
    "http://user@x.example:8080/y?z": "x.example",
    "http://192.0.2.1/": "192.0.2.1",
    "http://[2001:db8::1]/x": "2001:db8::1",
    "//x.example/": "x.example",
    "x.example/y": "x.example",
    "x.example/": "x.example",
    "*.x.example/*": "*.x.example",
    "x.example:53": "x.example",
    "x.example:http": "x.example",
    "192.0.2.1:53": "192.0.2.1",
    "192.0.2.1#53": "192.0.2.1",
    "192.0.2.1@53": "192.0.2.1",
    "[2001:db8::1]:53": "2001:db8::1",
    "[2001:db8::1]": "2001:db8::1",
    "2001:db8::1#53": "2001:db8::1",
    "2001:db8::1.53": "2001:db8::1",
    "user@x.example": "x.example",
    "mailto:user@x.example": "x.example",
    "192.0.2.*": "192.0.2.0/24",
    "192.0.*.*": "192.0.0.0/16",
    "192.0.2.x": "192.0.2.0/24",
    "10.x.x.x": "10.0.0.0/8",
    "192.0.2.": "192.0.2.0/24",
    "10/8": "10.0.0.0/8",
    "192.168/16": "192.168.0.0/16",
    "10.0.0.0/255.0.0.0": "10.0.0.0/8",
    "10.0.0.0/0.255.255.255": "10.0.0.0/8",
    "10.0.0.0 255.0.0.0": "10.0.0.0/8",
    "192.0.2.0-192.0.2.255": "192.0.2.0/24",
    "192.0.2.0 - 192.0.2.127": "192.0.2.0/25",
    "192.0.2.4-7": "192.0.2.4/30",
    "2001:db8::-2001:db8::ffff": "2001:db8::/112",
    "001.002.003.004": "1.2.3.4",
    "10.01.1.1": "10.1.1.1",
    "0x7f000001": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "017700000001": "127.0.0.1",
    "192.0.2.1.": "192.0.2.1",
    "192.0.2.1,": "192.0.2.1",
    "192.0.2.1;": "192.0.2.1",
    "(192.0.2.1)": "192.0.2.1",
    '"192.0.2.1"': "192.0.2.1",
    "'x.example'": "x.example",
    " x.example": "x.example",
    "x.example\t": "x.example",
    '"http://x.example:80/"': "x.example",
    "||x.example^": ".x.example",
    "||*.x.example^": "*.x.example",
    "|x.example^": "x.example",
    "||x.example^$important": ".x.example",
    "@@||x.example^": ".x.example",
    "address=/x.example/0.0.0.0": ".x.example",
    "local=/x.example/": ".x.example",
    "+.x.example": ".x.example",
    "domain:x.example": ".x.example",
    "full:x.example": "x.example",
    "=x.example": "x.example",
    "x..example": "x.example",
    ".192.0.2.1": "192.0.2.1",
    "x\u3002example": "x.example",
    "\uff11\uff19\uff12.0.2.1": "192.0.2.1",
    "x\u200b.example": "x.example",
    "exa\u00admple.example": "example.example",
    "\ufb01.example": "fi.example",
    "\U0001f600.example": "xn--e28h.example",
    "6\u00d766.example": "xn--666-8ja.example",
    "x.123": "x.\\04923",
}


@pytest.mark.parametrize(("text", "target"), ONE.items())
def test_the_target_that_was_meant_is_proposed(text: str, target: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert caught.value.sentence.endswith(f"; write {target}")
    assert caught.value.text == text
    parse_target(target)


SEVERAL = {
    "127.1": "127.0.0.1 or 127.1.0.0/16",
    "192.0.2": "192.0.0.2 or 192.0.2.0/24",
    "010.1.1.1": "10.1.1.1 or 8.1.1.1",
    "10.0.0.1/255.0.0.0": "10.0.0.0/8 or 10.0.0.1",
    "[2001:db8::1]/64": "2001:db8::/64 or 2001:db8::1",
    "192.0.2.4-192.0.2.9": "192.0.2.4/30, 192.0.2.8/31",
    "192.0.2.1,192.0.2.2": "192.0.2.1, 192.0.2.2",
    "x.example;y.example": "x.example, y.example",
    "address=/x.example/y.example/": ".x.example, .y.example",
}


@pytest.mark.parametrize(("text", "targets"), SEVERAL.items())
def test_several_targets_may_be_proposed(text: str, targets: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert caught.value.sentence.endswith(f"; write {targets}")


NOTHING = {
    "300.1.1.1": "above 255",
    "1.2.3.4.5": "four numbers",
    "00:11:22:33:44:55": "hardware address",
    "00-11-22-33-44-55": "hardware address",
    "AS64500": "AS number",
    "x.example##.banner": "about web pages",
    "/^ads/": "regular expression",
    "regex:^ads": "regular expression",
    "0.0.0.1-255.255.255.254": "it is a range; write it as prefixes",
    "192.0.2.9-192.0.2.4": "192.0.2.9-192.0.2.4",
    "@blocked.txt": "xdpctl import",
    "/etc/hosts": "xdpctl import",
    "./x": "xdpctl import",
    "file:///x": "xdpctl import",
    "b\udcfccher.example": "not UTF-8",
    "::ffff:192.0.2.1/120": "write 192.0.2.0/24 for the prefix or 192.0.2.1 for the address",
    "fe80::1%eth0": "leave out '%eth0'",
    "a.*.b": "* can only be the first label",
    "a b.example": "a blank",
    "10.0.0.0/255.0.255.0": "a number from 0 to 32",
    "2001:db8::/129": "a number from 0 to 128",
}


@pytest.mark.parametrize(("text", "sentence"), NOTHING.items())
def test_where_no_target_can_be_proposed_the_error_says_why(text: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=re.escape(sentence)):
        parse_target(text)


def test_a_target_that_is_refused_for_its_options_is_not_guessed_at() -> None:
    with pytest.raises(TargetError, match="leave out the type"):
        parse_target("192.0.2.1", "A")
    with pytest.raises(TargetError, match="leave out --zone"):
        parse_target("192.0.2.1", zone=True)


def test_a_prefix_of_the_settings_is_guessed_at_too() -> None:
    with pytest.raises(TargetError, match=r"write 10\.0\.0\.0/8$"):
        parse_network("10/8")


PIECES = [
    "192.0.2.1",
    "2001:db8::1",
    "x.example",
    "-",
    "/",
    ":",
    "@",
    "*",
    ".",
    "0x",
    "[",
    "]",
    "||",
    "^",
    "24",
    "//",
    "http",
    "é",
    "。",
    ",",
    "#",
    "xn--",
    "=",
]

texts = st.text(max_size=40) | st.lists(st.sampled_from([*PIECES, " ", "\udcff"]), max_size=8).map(
    "".join
)


@given(texts)
def test_any_text_is_a_target_or_an_error_of_one_line(text: str) -> None:
    try:
        parse_target(text)
    except TargetError as error:
        assert error.sentence.isprintable()  # noqa: PT017 - both ends are right
        assert len(error.sentence) < 500  # noqa: PT017


@given(texts)
def test_whatever_is_proposed_is_a_target(text: str) -> None:
    try:
        parse_target(text)
    except TargetError as error:
        _, said, targets = error.sentence.rpartition("as a target: ")
        _, says, targets = targets.rpartition("; write ")
        if said and says and not targets.startswith(("it as", "its", "names")):
            for target in re.split(r", | or ", targets):
                parse_target(target)


@given(texts)
def test_guessing_raises_nothing(text: str) -> None:
    for guess in meant(text):
        assert guess.sentence()
