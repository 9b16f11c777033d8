"""The DaemonSet: by Kubernetes' own schemas, and beside the unit and the image's commands.

There is no cluster here. What a pod gets is compared, word by word, with the commands of
the Containerfile's header, which `image` runs, and with deploy/xdpctl.service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import kubernetes_validate
import yaml

from tests.packages.claims import Claim
from tests.packages.package import ROOT
from tests.packages.podman import after, run_command
from tests.packages.unit import read_unit

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST: Final = ROOT / "deploy/kubernetes/daemonset.yaml"
PROBES: Final = ("startup", "liveness", "readiness")
OLDEST: Final = "1.25"
"""The first that has Pod Security as it is today."""


def documents() -> dict[str, dict[str, Any]]:
    """Return the manifest's documents by their kind."""
    loaded: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
    return {document["kind"]: document for document in loaded}


def settings() -> str:
    """Return the xdpctl.toml of the ConfigMap."""
    text: str = documents()["ConfigMap"]["data"]["xdpctl.toml"]
    return text


def probes() -> dict[str, str]:
    """Return the address that each probe of the service asks, by "startup", "liveness", …."""
    pod = documents()["DaemonSet"]["spec"]["template"]["spec"]
    (service,) = pod["containers"]
    found = {name: service[f"{name}Probe"]["httpGet"] for name in PROBES}
    return {name: f"http://{get['host']}:{get['port']}{get['path']}" for name, get in found.items()}


def _against_schema(document: dict[str, Any], version: str) -> str:
    """Return what the schema of this version has against a document, "" for nothing."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return ""


def _mounts(pod: dict[str, Any], container: dict[str, Any]) -> set[str]:
    """Return each mount of a host's folder, as `podman run --volume` would have it."""
    hosts = {
        volume["name"]: volume["hostPath"]["path"]
        for volume in pod["volumes"]
        if "hostPath" in volume
    }
    hosts["config"] = "/etc/xdpctl"
    return {
        f"{hosts[mount['name']]}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}"
        for mount in container["volumeMounts"]
        if mount["name"] in hosts
    }


def claims() -> Iterator[Claim]:
    """Yield what is claimed of the manifest."""
    found = documents()
    for version in (OLDEST, kubernetes_validate.latest_version()):
        wrong = [said for item in found.values() if (said := _against_schema(item, version))]
        yield Claim(f"every field is one of Kubernetes {version}", not wrong, str(wrong))
    pod = found["DaemonSet"]["spec"]["template"]["spec"]
    (service,), (prepare,) = pod["containers"], pod["initContainers"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for item in (service, prepare) for mount in item["volumeMounts"]}
    yield Claim("every mount is one of a volume", mounted == volumes, str(mounted ^ volumes))
    selected = found["DaemonSet"]["spec"]["selector"]["matchLabels"]
    labels = found["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    yield Claim("it selects its own pods", selected == labels, f"{selected} {labels}")
    for container, verb in ((service, ""), (prepare, "prepare")):
        words, name = run_command(verb), container["name"]
        confined = container["securityContext"]
        added = set(confined["capabilities"]["add"])
        same = added == set(after("--cap-add", words)) and confined["capabilities"]["drop"] == [
            "ALL"
        ]
        yield Claim(f"{name}: capabilities are those of the image's command", same, str(added))
        mounts = _mounts(pod, container)
        yield Claim(
            f"{name}: mounts are those of the image's command",
            mounts == set(after("--volume", words)),
            str(mounts),
        )
        arguments = words[words.index("xdpctl", words.index("--volume")) + 1 :]
        yield Claim(
            f"{name}: arguments are those of the image's command",
            container.get("args", []) == arguments,
            str(arguments),
        )
        yield Claim(
            f"{name}: no new privileges, nothing of the image is writable",
            confined["readOnlyRootFilesystem"] and not confined["allowPrivilegeEscalation"],
            str(confined),
        )
    unit = read_unit(ROOT / "deploy/xdpctl.service")
    added = {name.lower() for name in service["securityContext"]["capabilities"]["add"]}
    images = [container["image"] for container in (service, prepare)]
    fixed = len(set(images)) == 1 and "@sha256:" in images[0]
    yield Claim("both containers are of one image, which a digest names", fixed, str(images))
    yield Claim("the service has the unit's capabilities", added == unit.ambient, str(added))
    places = {mount["mountPath"] for mount in service["volumeMounts"] if not mount.get("readOnly")}
    wanted = {*unit.writable, "/tmp"}  # noqa: S108 - PrivateTmp
    yield Claim("it writes where the unit does", places == wanted, f"{places} {wanted}")
    yield Claim("it has the node's network", pod["hostNetwork"])
    yield Claim("only labelled nodes have it", "xdpctl" in pod["nodeSelector"])
