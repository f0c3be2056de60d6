"""What is built and installed is `tidelog`, whole, and nothing else claims a name.

Built from a copy of the tree by the setuptools of this environment, without a network. The new environment sees the
dependencies of this one through a .pth file, which names the folder but runs none of its editable installs.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
NOT_SOURCE = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "node_modules", "tidelog-data")
BUILD = "from setuptools import build_meta; build_meta.build_{kind}({target!r})"


def run(*command: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TIDELOG"))}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    target.mkdir(exist_ok=True)
    run(sys.executable, "-c", BUILD.format(kind=kind, target=str(target)), cwd=source)
    (built,) = target.iterdir()
    return built


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("build") / "source", ignore=NOT_SOURCE))


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", tree, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment's bin folder, the wheel installed in it."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, symlinks=True)
    python = home / "bin/python"
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=home)
    return home / "bin"


def test_the_wheel_claims_one_name(wheel: Path) -> None:
    assert {name.split("/")[0] for name in names_in(wheel)} == {"tidelog", f"tidelog-{VERSION}.dist-info"}


def test_the_wheel_holds_every_module_of_the_tree_and_no_test(wheel: Path, tree: Path) -> None:
    rooms = [package.replace(".", "/") for package in PROJECT["tool"]["setuptools"]["packages"]]
    folders = {room: tree / room.removeprefix("tidelog").lstrip("/") for room in rooms}
    expected = {f"{room}/{file.name}" for room, folder in folders.items() for file in folder.glob("*.py")}
    code = {name for name in names_in(wheel) if name.startswith("tidelog/")}
    assert code == expected | {"tidelog/py.typed"}


def test_the_wheel_names_its_licence_its_command_and_its_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = HeaderParser().parsestr(archive.read(f"tidelog-{VERSION}.dist-info/METADATA").decode())
        commands = archive.read(f"tidelog-{VERSION}.dist-info/entry_points.txt").decode()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "tidelog = tidelog.cli.main:main" in commands
    assert f"tidelog-{VERSION}.dist-info/licenses/LICENSE" in names_in(wheel)


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    rebuilt = build("wheel", tmp_path / f"tidelog-{VERSION}", tmp_path / "wheel")
    assert names_in(rebuilt) == names_in(wheel)


def test_what_the_image_copies_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    copies = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    for source in [tree / name for names in copies for name in names if not name.startswith(("-", "/"))]:
        if source.is_dir():
            shutil.copytree(source, tmp_path / "source" / source.name)
        else:
            (tmp_path / "source").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "source")
    assert names_in(build("wheel", tmp_path / "source", tmp_path / "wheel")) == names_in(wheel)


def test_an_installed_tidelog_imports_from_where_it_was_installed(installed: Path) -> None:
    printed = run(installed / "python", "-c", "import tidelog; print(tidelog.__file__)", cwd=installed)
    assert Path(printed.strip()).is_relative_to(installed.parent)


def test_the_installed_command_tells_its_version(installed: Path) -> None:
    assert VERSION in run(installed / "tidelog", "version", cwd=installed)
    assert VERSION in run(installed / "python", "-m", "tidelog", "version", cwd=installed)


def test_the_version_is_said_once_per_place_and_everywhere_the_same(installed: Path) -> None:
    printed = run(installed / "python", "-c", "import tidelog; print(tidelog.__version__)", cwd=installed)
    assert printed.strip() == VERSION
