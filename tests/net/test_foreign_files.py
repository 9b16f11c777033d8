"""The writer of a list's file cannot read through the service what this user may not read.

A feed's user has a folder; whatever is linked there, in any way, is neither a rule nor
quoted in an answer on --listen.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Service, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

FEED = 65534
SECRETS = {
    "shadow": "root:$y$j9T$s3cret:19000:0:99999:7:::\n",
    "token": "s3crets3crets3cret\n",
}


class Site:
    """A service with a list in a folder of another user's."""

    def __init__(self, lab: Lab) -> None:
        _, server = lab.pair()
        self.server = server
        lab.directory.chmod(0o711)
        self.private = lab.directory / "private"
        self.private.mkdir(mode=0o711)
        self.feeds = lab.directory / "feeds"
        self.feeds.mkdir()
        os.chown(self.feeds, FEED, FEED)
        self.list = self.feeds / "blocked.txt"
        self.put("a.example\n")
        lab.write("xdpctl.toml", f'[[list]]\nfile = "{self.list}"\n')
        self.service = Service(server)
        self.holds("a.example")

    def as_feed(self, *argv: str) -> None:
        self.server.run(*("setpriv", f"--reuid={FEED}", f"--regid={FEED}", "--clear-groups"), *argv)

    def put(self, text: str) -> None:
        self.as_feed(
            "sh", "-c", f"printf %s '{text}' > {self.feeds}/n; mv {self.feeds}/n {self.list}"
        )

    def told(self) -> str:
        """Return what everybody is told who asks --listen."""
        paths = ("/api/v1/status", "/api/v1/export?all=1", "/api/v1/rules", "/readyz")
        return "".join(self.service.get(path).body for path in paths)

    def holds(self, target: str) -> None:
        eventually(
            lambda: target in [rule["target"] for rule in self.service.rules()],
            f"{target} is a rule",
        )

    def secret(self, name: str, mode: int) -> Path:
        path = self.private / name
        path.unlink(missing_ok=True)
        path.write_text(SECRETS[name])
        path.chmod(mode)
        return path


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        yield Site(lab)


@pytest.mark.parametrize("name", list(SECRETS))
@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("how", ["link", "link to a folder", "hard link", "hard link alone"])
def test_what_he_links_to_is_not_read(site: Site, name: str, mode: int, how: str) -> None:
    secret = site.secret(name, mode)
    site.list.unlink(missing_ok=True)
    if how == "link":
        site.as_feed("ln", "-s", str(secret), str(site.list))
    elif how == "link to a folder":
        site.as_feed(
            "sh", "-c", f"ln -sfn {secret.parent} {site.feeds}/d; ln -s d/{name} {site.list}"
        )
    else:  # as where fs.protected_hardlinks is 0, which is the whole machine's
        site.list.hardlink_to(secret)
        if how == "hard link alone":
            secret.unlink()
            if mode & 0o004:
                site.put("a.example\n")
                return  # everybody may read it, under its one name, which is the user's
    eventually(lambda: "it is not read: user 65534 can change" in site.told(), "the refusal")
    assert "s3cret" not in site.told()
    site.put("b.example\n")
    site.holds("b.example")
    site.put("a.example\n")
    site.holds("a.example")


def test_what_cannot_be_read_is_quoted_to_the_operator_alone(site: Site) -> None:
    site.put("s3cret:words\n")
    eventually(lambda: "line 1 cannot be read" in site.told(), "the warning")
    assert "s3cret" not in site.told()
    assert "'s3cret:words'" in site.service.verb("status").stdout
    assert "'s3cret:words'" in "\n".join(site.service.process.lines)
    site.put("a.example\n")
