"""What is pasted around or between targets is refused with how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdpctl.cli.typed import refuse_pasted, refuse_word
from xdpctl.errors import TargetError

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

PASTED = [
    ("http://evil.example/", "it is a URL; write its host alone: 'evil.example'"),
    ("HTTPS://evil.example:8443/a?b#c", "'evil.example'"),
    ("ftp://user:secret@evil.example/x", "'evil.example'"),
    ("https://[2001:db8::1]:443/", "'2001:db8::1'"),
    ("evil.example:53", "a target has no port; write 'evil.example'"),
    ("192.0.2.66:53", "a target has no port; write '192.0.2.66'"),
    ("[2001:db8::1]:53", "a target has no port; write '2001:db8::1'"),
    ("[2001:db8::1]", "without brackets: '2001:db8::1'"),
    ("192.0.2.1,192.0.2.2", "blanks between them: '192.0.2.1 192.0.2.2'"),
    ("192.0.2.0-192.0.2.3", "a range is written as prefixes: 192.0.2.0/30"),
    ("192.0.2.1-192.0.2.200", "192.0.2.1/32 192.0.2.2/31 192.0.2.4/30 192.0.2.8/29 …"),
    ("2001:db8::-2001:db8::ff", "2001:db8::/120"),
]


@pytest.mark.parametrize(("text", "said"), PASTED)
def test_what_is_around_a_target_is_named(text: str, said: str) -> None:
    with pytest.raises(TargetError) as caught:
        refuse_pasted(text)
    assert said in caught.value.sentence


@pytest.mark.parametrize(
    "text",
    [
        *("192.0.2.1", "2001:db8::1", "::1", "2001:db8::/32", "192.0.2.0/24", "::ffff:192.0.2.1"),
        *("a-b.example", "xn--a-b.example", "1-9.example", ".evil.example", "*.evil.example"),
        *("2001:db8::1:53", "a.example.", "", "-", "192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1"),
    ],
)
def test_what_may_be_a_target_is_left_to_its_parser(text: str) -> None:
    refuse_pasted(text)


@pytest.mark.parametrize("verb", ["block", "allow", "unblock", "list", "history"])
def test_every_verb_with_targets_refuses_it_before_anything_is_sent(
    cli: CommandLine, service: FakeService, verb: str
) -> None:
    result = cli(verb, "https://evil.example/")
    assert (result.status, result.output) == (1, "")
    assert "'evil.example'" in result.errors
    assert service.requests == []


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("forever", "--for forever"),
        ("10m", "--for 10m"),
        ("txt", "--qtype TXT"),
        ("drop", "--action drop"),
        ("as64500", "write its prefixes"),
        ("rules", "`xdpctl import rules`"),
        ("-", "`xdpctl import -`"),
    ],
)
def test_a_single_word_is_answered_with_what_was_meant(word: str, said: str) -> None:
    with pytest.raises(TargetError) as caught:
        refuse_word(word)
    assert said in caught.value.sentence
