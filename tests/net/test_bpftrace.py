"""contrib/bpftrace/named-forwarded beside a real named with a forward zone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.lab import Responder, eventually
from tests.lab.hosts import ROOT

if TYPE_CHECKING:
    from tests.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROGRAM: Final = ROOT / "contrib" / "bpftrace" / "named-forwarded"

RUN: Final = Path("/run")

NAMED: Final = """\
options {{
    directory "{directory}";
    pid-file none;
    session-keyfile none;
    listen-on {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    recursion yes;
    dnssec-validation no;
    empty-zones-enable no;
}};
controls {{ }};
zone "own.example" {{ type primary; file "own.db"; }};
zone "sent.example" {{ type forward; forward only; forwarders {{ {server}; }}; }};
"""
OWN: Final = "$TTL 60\n@ SOA ns host 1 60 60 60 60\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.80\n"


def test_it_shows_what_named_forwards_and_nothing_else(lab: Lab) -> None:
    """A forward zone's name, names below it, odd ones too; not an own zone's, nor a cached one."""
    client, server = lab.pair()
    Responder(client)
    lab.write("own.db", OWN)
    text = NAMED.format(directory=lab.directory, server=client.v4)
    config = lab.write("named.conf", text)
    named = server.start("named", "named", "-g", "-n", "2", "-c", str(config))
    named.line(r"\brunning$", timeout=60)
    watch = server.start("watch", str(PROGRAM), str(named.pid))
    watch.line("^time name where$", timeout=60)

    for name in (
        "sent.example",
        "www.sent.example",
        "www.own.example",
        "www.sent.example",
        r"a\.b\032c.sent.example",
        "last.of.all.sent.example",
    ):
        server.run("dig", "@127.0.0.1", "+tries=3", "+time=5", name)

    def seen() -> list[list[str]]:
        lines = watch.text.partition("time name where\n")[2].splitlines()
        return [line.split(" ")[1:] for line in lines]

    eventually(lambda: ["last.of.all.sent.example.", "below"] in seen(), "the last name", 30)
    assert seen() == [
        ["sent.example.", "exact"],
        ["www.sent.example.", "below"],
        [r"a\046b\032c.sent.example.", "below"],
        ["last.of.all.sent.example.", "below"],
    ]
    before = set(RUN.glob("named-forwarded.*"))
    assert watch.stop() == 0
    assert len(before - set(RUN.glob("named-forwarded.*"))) == 1, "its folder is left"


def test_a_process_that_is_not_named_is_refused_in_one_sentence(lab: Lab) -> None:
    host = lab.host("alone")
    other = host.start("sleep", "sleep", "60")
    refused = host.run(str(PROGRAM), str(other.pid), check=False)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "has not loaded libdns" in refused.stderr
