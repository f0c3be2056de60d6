"""The container files: what docker-compose makes of them, and that nothing they name is missing.

No engine is needed: `docker-compose config` reads, checks and resolves the file as `up` would. A missing docker-compose
fails, because a check that is skipped is a check that nobody made.
"""

import json
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@cache
def composed() -> dict[str, dict[str, dict[str, object]]]:
    done = subprocess.run(["docker-compose", "config"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    parsed: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(done.stdout)
    return parsed


def strings(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def mounts() -> list[str]:
    """Every path of this repository that a container sees, as `source:target:mode`."""
    everything = [
        volume for service in composed()["services"].values() for volume in strings(service.get("volumes", []))
    ]
    return [volume for volume in everything if volume.startswith("/")]


# -- docker-compose.yml --


def test_the_file_brings_tidelog_prometheus_and_grafana() -> None:
    assert set(composed()["services"]) == {"tidelog", "prometheus", "grafana"}


def test_every_port_is_published_to_this_host_only() -> None:
    for name, service in composed()["services"].items():
        for port in strings(service["ports"]):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port} to the world"


def test_host_and_network_each_have_a_listener_that_advertises_what_they_can_reach() -> None:
    command = strings(composed()["services"]["tidelog"]["command"])
    listeners = [word.removeprefix("--listen=") for word in command if word.startswith("--listen=")]
    assert listeners == ["0.0.0.0:9092@localhost:9092", "0.0.0.0:19092@tidelog:19092"]
    # The port that is advertised to the host is the one that is published; the network's is not published at all.
    published = [port.split("/")[0] for port in strings(composed()["services"]["tidelog"]["ports"])]
    assert "127.0.0.1:9092:9092" in published
    assert not any("19092" in port for port in published)


def test_mounted_files_exist() -> None:
    found = mounts()
    assert len(found) == 5
    missing = [volume for volume in found if not Path(volume.split(":")[0]).exists()]
    assert not missing, "mounted but not there:\n" + "\n".join(missing)


def test_a_mounted_file_is_read_only() -> None:
    assert [volume for volume in mounts() if not volume.endswith(":ro")] == []


def test_prometheus_scrapes_the_address_that_tidelog_serves() -> None:
    command = strings(composed()["services"]["tidelog"]["command"])
    (http,) = (word.removeprefix("--http=") for word in command if word.startswith("--http="))
    assert f"tidelog:{http.rpartition(':')[2]}" in (ROOT / "monitoring/prometheus.yml").read_text()


def test_grafana_finds_its_datasource_and_its_dashboard() -> None:
    grafana = ROOT / "monitoring/grafana"
    datasources = [yaml.safe_load(file.read_text()) for file in (grafana / "provisioning/datasources").glob("*.yml")]
    (datasource,) = (row for file in datasources for row in file["datasources"])
    assert datasource["url"] == "http://prometheus:9090"
    providers = [yaml.safe_load(file.read_text()) for file in (grafana / "provisioning/dashboards").glob("*.yml")]
    (provider,) = (row for file in providers for row in file["providers"])
    targets = {volume.split(":")[1]: Path(volume.split(":")[0]) for volume in mounts()}
    folder = targets[provider["options"]["path"].rstrip("/")]
    assert "panels" in json.loads((folder / "tidelog.json").read_text())


# -- Dockerfile --


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of the Dockerfile, its continued lines joined."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Instruction(*line.split(" ", 1)) for line in lines if line]


def the(word: str) -> str:
    """What the only, or the last, instruction of this kind says."""
    return [instruction.rest for instruction in instructions() if instruction.word == word][-1]


def copied() -> list[str]:
    """What the image takes from the repository (and not from an earlier stage)."""
    lines = [shlex.split(row.rest) for row in instructions() if row.word == "COPY" and "--from" not in row.rest]
    return [source for *sources, _ in lines for source in sources]


def test_what_the_image_copies_exists() -> None:
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_the_image_copies_every_package() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = {package.split(".")[1] for package in packages if "." in package}
    assert rooms <= set(copied())


def test_what_the_image_copies_reaches_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    wanted = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert [source for source in copied() if not any(fnmatch(source, pattern) for pattern in wanted)] == []


def test_the_image_does_not_run_as_root() -> None:
    assert the("USER") == "10001:10001"
    assert "--uid 10001" in the("RUN")


def test_the_image_drains_on_stop_and_tells_its_health() -> None:
    assert the("STOPSIGNAL") == "SIGTERM"
    assert json.loads(the("HEALTHCHECK").partition("CMD ")[2]) == ["tidelog", "health", "--ready"]


def test_the_image_keeps_its_data_in_a_volume_of_its_user() -> None:
    command = json.loads(the("CMD"))
    assert command[command.index("--data-dir") + 1] == the("VOLUME")
    assert f"--owner=tidelog --group=tidelog --mode=0750 {the('VOLUME')}" in the("RUN")


@pytest.mark.parametrize("key", ["title", "description", "version", "licenses"])
def test_the_image_is_labelled(key: str) -> None:
    assert f"org.opencontainers.image.{key}=" in the("LABEL")


def test_the_image_is_labelled_with_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in the("LABEL")
