"""What is imported when: packets are filtered, and verbs run, without what they do not use.

Each test asks a fresh interpreter for its modules, which is the same every time; how
long that takes is `make bench`'s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import trustme

import xdpctl
from xdpctl.cli.main import FAMILIES

ROOT = Path(xdpctl.__file__).parents[1]
FACES = {"aiohttp", "msgspec", "prometheus_client"}
"""What answers requests; yarl, multidict and attr come with the first."""

NAMES = {"dns.name", "idna"}
NEVER = {"bcc", "unittest", "pyroute2.iproute", "pyroute2.ndb"}
KERNEL = {"asyncio", "sqlite3", "ctypes", "pyroute2.netlink", "xdpctl.service.service"}
LOCAL = {"check", "prepare", "detach"}
"""Verbs that work without a service, and so look at the kernel themselves."""


def run(code: str, *options: str, **environ: str) -> str:
    """Return what a fresh interpreter with these options prints."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environ,
    )
    return done.stdout


def modules(code: str) -> set[str]:
    """Return the modules that some code leaves imported, and that bare Python has not."""
    told = "import sys, json\nbare = set(sys.modules)\n"
    told += f"{code}\nprint(json.dumps(sorted(set(sys.modules) - bare)))\n"
    return set(json.loads(run(told).splitlines()[-1]))


def test_the_service_filters_before_it_can_answer() -> None:
    found = modules("import xdpctl.service.service")
    assert not found & (FACES | NAMES | NEVER)
    assert not [name for name in found if name.startswith("xdpctl.cli")]


def test_compiling_begins_before_the_service_is_loaded() -> None:
    found = modules("import xdpctl.service.bootstrap")
    assert not found & (FACES | NAMES | NEVER | KERNEL - {"ctypes"})


def test_the_loader_stays_small() -> None:
    """It is started without `site`, which imports some of these."""
    code = f"import sys; sys.path.append({str(ROOT)!r}); import xdpctl.program.loader.process\n"
    found = set(run(f"{code}print(*sys.modules)", "-I", "-S").split())
    assert "xdpctl.kernel.bpf.loading" in found
    assert not {"enum", "functools", "re", "socket", "subprocess", "typing"} & found


def test_the_service_has_the_sockets_of_children_only_with_a_child() -> None:
    assert "multiprocessing.connection" not in modules("import xdpctl.service.service")


def test_of_pyroute2_only_the_codecs_are_imported() -> None:
    found = modules("import xdpctl.kernel.net.interfaces")
    assert "pyroute2.netlink.rtnl.ifinfmsg" in found
    assert not {"pyroute2", *NEVER} & found


def test_the_whole_of_pyroute2_can_still_be_imported() -> None:
    assert "pyroute2.iproute" in modules("import xdpctl.kernel.net.interfaces, pyroute2")


def test_settings_are_read_without_what_serves_or_names() -> None:
    found = modules("import xdpctl.settings")
    assert not found & (FACES | NAMES | NEVER | KERNEL)


def with_verbs(names: set[str]) -> set[str]:
    """Return the modules of these verbs, taken together."""
    found = [f"find({name!r}).parser()" for name in sorted(names)]
    return modules("\n".join(["from xdpctl.cli.main import find", *found]))


def test_verbs_import_nothing_of_the_service() -> None:
    assert not with_verbs(FAMILIES.keys() - LOCAL) & (FACES | NAMES | NEVER | KERNEL)


def test_verbs_that_look_at_the_kernel_answer_no_requests() -> None:
    assert not with_verbs(LOCAL) & (FACES | NAMES | NEVER)


APPLICATION = "from xdpctl.http.listeners import import_application; import_application()\n"


def test_of_aiohttp_only_the_server_is_imported() -> None:
    found = modules(APPLICATION)
    assert "aiohttp.web" in found
    assert not {"aiohttp.client", "aiohttp.connector"} & found


def test_of_the_library_for_metrics_only_what_writes_them_is_imported() -> None:
    found = modules("from xdpctl.service.start import _import_faces; _import_faces()")
    assert "prometheus_client.exposition" in found
    assert not {"prometheus_client.metrics", "prometheus_client.values"} & found


def test_the_rest_of_aiohttp_is_there_as_soon_as_it_is_asked_for() -> None:
    code = "import aiohttp; print(aiohttp.ClientSession.__module__, aiohttp.__version__[:1])"
    assert run(APPLICATION + code).split() == ["aiohttp.client", "3"]
    assert run(f"{APPLICATION}from aiohttp import ClientSession, web\nprint(web)").startswith(
        "<mod"
    )


def test_answering_reads_no_certificates_of_this_host(tmp_path: Path) -> None:
    """Aiohttp's client, which is not imported, would."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    code = (
        "import gc, ssl\n"
        "from xdpctl.http.listeners import import_application\n"
        "import_application()\n"
        "made = [one for one in gc.get_objects() if isinstance(one, ssl.SSLContext)]\n"
        "after = ssl.create_default_context()\n"
        "print(sum(len(one.get_ca_certs()) for one in made), len(after.get_ca_certs()))\n"
    )
    assert run(code, SSL_CERT_FILE=str(tmp_path / "ca.pem")).split() == ["0", "1"]
