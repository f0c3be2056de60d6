"""`import tidelog`: the version at once, the client when it is wanted."""

import json
import subprocess
import sys

import pytest

import tidelog
import tidelog.client

IMPORT_MS_MAX = 60


def in_a_new_process(program: str) -> object:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_public_names_of_the_client_are_the_packages() -> None:
    assert tidelog.__all__ == tidelog.client.__all__
    for name in tidelog.__all__:
        assert getattr(tidelog, name) is getattr(tidelog.client, name)
    assert set(tidelog.__all__) <= set(dir(tidelog))


def test_another_name_is_an_attribute_error_and_loads_nothing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tidelog.nonsense  # type: ignore[attr-defined]


def test_importing_the_package_is_quick_and_loads_neither_asyncio_nor_the_client() -> None:
    program = (
        "import json, sys, time; began = time.perf_counter(); import tidelog;"
        "print(json.dumps([(time.perf_counter() - began) * 1000, sorted(sys.modules)]))"
    )
    milliseconds, modules = min(in_a_new_process(program) for _ in range(3))  # type: ignore[type-var, misc]
    assert milliseconds < IMPORT_MS_MAX  # type: ignore[has-type]
    assert "asyncio" not in modules  # type: ignore[has-type]
    assert not [name for name in modules if name.startswith("tidelog.")]  # type: ignore[has-type]


@pytest.mark.parametrize("module", ["tidelog.storage.log", "tidelog.broker.server", "tidelog.protocol.apis"])
def test_other_folders_do_not_pull_the_client_in(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    modules = in_a_new_process(program)
    assert isinstance(modules, list)
    assert not [name for name in modules if name.startswith("tidelog.client")]
