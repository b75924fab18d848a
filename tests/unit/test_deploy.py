"""The files of deploy/ agree with each other, with our settings and with the repository. Nothing is
deployed here: that needs Docker, or a Kubernetes cluster."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cloudslice.cli.main import main
from cloudslice.cluster.joining import check_settings
from cloudslice.config import Settings, load_settings
from helpers.nats_server import find_program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
GIVEN = {
    "HOST_IP": "192.0.2.1",
    "ENCRYPTION_KEY": "A" * 43 + "=",
    "APP_KEY": "k" * 64,
    "CALLER_KEY": "a caller's key",
}
"""What an operator exports."""
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "cloudslice.yaml").read_text()))
NODES = ["api", "worker-1", "worker-2"]


def find(kind: str, name: str) -> dict[str, Any]:
    """An object of Kubernetes."""
    (found,) = (e for e in KUBERNETES if (e["kind"], e["metadata"]["name"]) == (kind, name))
    return dict(found)


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Of a service of Compose, as its container has it."""
    return {
        name: re.sub(r"\$\{(\w+):\?\}", lambda match: GIVEN[match[1]], value)
        for name, value in service["environment"].items()
    }


def check_command(arguments: list[str]) -> None:
    """It is one of ours."""
    role, option, _path = arguments
    assert role in main.commands or role in main.list_commands(None)  # type: ignore[arg-type]
    assert option == "--config"


@pytest.mark.parametrize("name", NODES)
def test_a_service_of_compose_has_settings_that_a_cluster_takes(name: str) -> None:
    service = COMPOSE["services"][name]
    check_command(service["command"])
    values = environment(service)
    settings = load_settings(DEPLOY / "cloudslice.toml", values)
    check_settings(settings)
    assert settings.cluster.replicas == 3
    ports = dict(reversed(each.split(":")) for each in service["ports"])
    http = str(settings.listen_address[1])
    assert http in ports
    if name != "api":
        assert ports[f"{settings.rtc.udp_port}/udp"] == str(settings.rtc.udp_port)
        assert settings.rtc.advertise_ip
        assert settings.cluster.url == f"http://{GIVEN['HOST_IP']}:{ports[http]}"
    mounts = dict(reversed(each.removesuffix(":ro").split(":")) for each in service["volumes"])
    assert (DEPLOY / mounts[service["command"][2]]).is_file()
    if name != "api":
        assert mounts[str(settings.data_dir)] in COMPOSE["volumes"]
    assert int(service["stop_grace_period"].removesuffix("s")) > 2 * settings.cluster.drain_s
    for url in values["NATS_URL"].split(","):
        assert urlsplit(url).hostname in COMPOSE["services"]


def test_no_two_services_of_compose_share_a_port_or_a_volume() -> None:
    services = COMPOSE["services"].values()
    ports = [each.split(":")[0] for service in services for each in service.get("ports", ())]
    assert len(set(ports)) == len(ports)
    volumes = [
        each for service in services for each in service["volumes"] if not each.startswith(".")
    ]
    assert len(set(volumes)) == len(volumes)


def test_nats_takes_its_configuration() -> None:
    names = [each for each in COMPOSE["services"] if each.startswith("nats")]
    text = (DEPLOY / "nats.conf").read_text()
    assert re.findall(r"nats://([\w-]+):6222", text) == names
    for name in names:
        checked = subprocess.run(
            [find_program(), "-t", "-c", DEPLOY / "nats.conf"],
            env=os.environ | COMPOSE["services"][name]["environment"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr


def test_the_image_is_made_of_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    sources = [
        path
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for path in line.split()[:-1]
    ]
    assert "src" in sources
    for path in sources:
        assert (ROOT / path).exists()
    assert (DEPLOY / COMPOSE["x-node"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / COMPOSE["x-node"]["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize(
    ("kind", "name"), [("Deployment", "cloudslice-api"), ("StatefulSet", "cloudslice-worker")]
)
def test_pods_have_settings_that_a_cluster_takes(kind: str, name: str, tmp_path: Path) -> None:
    spec = find(kind, name)["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    settings = pod_settings(container, tmp_path)
    check_command(container["args"])
    mounts = [each["mountPath"] for each in container["volumeMounts"]]
    assert str(Path(container["args"][2]).parent) in mounts
    ports = {each["name"]: each for each in container["ports"]}
    assert ports["http"]["containerPort"] == settings.listen_address[1]
    if kind == "StatefulSet":
        assert ports["media"]["containerPort"] == settings.rtc.udp_port
        assert all(each["hostPort"] == each["containerPort"] for each in ports.values())
        assert str(settings.data_dir) in mounts
        assert pod["terminationGracePeriodSeconds"] > 2 * settings.cluster.drain_s
        assert find("Service", spec["serviceName"])["spec"]["clusterIP"] == "None"
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert find("Service", name)["spec"]["selector"] == labels


def pod_settings(container: dict[str, Any], directory: Path) -> Settings:
    """The settings of a container, which a cluster takes."""
    path = directory / "cloudslice.toml"
    path.write_text(find("ConfigMap", "cloudslice")["data"]["cloudslice.toml"])
    comment = (DEPLOY / "kubernetes" / "cloudslice.yaml").read_text().partition("\napiVersion")[0]
    values = {
        name: GIVEN["ENCRYPTION_KEY" if "ENCRYPTION" in name else "APP_KEY"]
        for name in re.findall(r"--from-literal=(\w+)=", comment)
    }
    for each in container["env"]:
        values[each["name"]] = each.get("value", "").replace("$(HOST_IP)", GIVEN["HOST_IP"])
    assert urlsplit(values["NATS_URL"]).hostname == "nats", "the release's name, as it is said"
    settings = load_settings(path, values)
    check_settings(settings)
    return settings


def test_the_settings_of_both_are_the_same() -> None:
    text = find("ConfigMap", "cloudslice")["data"]["cloudslice.toml"]
    assert (DEPLOY / "cloudslice.toml").read_text().endswith(text)
