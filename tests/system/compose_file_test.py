"""docker-compose.yml is valid, runs without any variable set, and gives each service what the project promises."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"


def compose_command():
    """Compose as a plugin of docker, else Debian's docker-compose; neither needs a running engine to read a file."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    assert shutil.which("docker-compose"), "docker-compose must be installed (tools/debian-packages-test.txt)"
    return ["docker-compose"]


def resolved(variables=None):
    """The file as compose understands it, with only `variables` set."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(variables or {})}
    with tempfile.NamedTemporaryFile(suffix=".env") as no_settings:
        result = subprocess.run(
            [*compose_command(), "-f", str(COMPOSE_FILE), "--env-file", no_settings.name, "config"],
            cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "variable is not set" not in result.stderr, result.stderr
    return yaml.safe_load(result.stdout)


def test_every_variable_has_a_default():
    uses = re.findall(r"(?<!\$)\$(\{[^}]*\}|\w+)", COMPOSE_FILE.read_text(encoding="utf-8"))
    assert uses
    assert [use for use in uses if ":-" not in use] == []


def test_every_variable_is_in_the_example_environment():
    used = set(re.findall(r"\$\{(\w+):-", COMPOSE_FILE.read_text(encoding="utf-8")))
    shown = set(re.findall(r"^#?\s*(LONGROPE_\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert used == shown


def test_file_opens_with_what_it_is_for_and_not_for():
    opening = COMPOSE_FILE.read_text(encoding="utf-8").split("services:")[0]
    assert "For:" in opening and "Not for:" in opening


def test_coordinator_and_workers_start_by_default_and_documents_on_request():
    # From the file itself: the versions of compose differ in whether `config` shows what a profile switches off.
    services = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"]
    assert {name for name, service in services.items() if not service.get("profiles")} == {"coordinator", "worker"}
    assert services["documents"]["profiles"] == ["prepare"]


def test_coordinator_listens_on_the_private_network_only():
    coordinator = resolved()["services"]["coordinator"]
    assert "--insecure-network" in coordinator["command"]
    assert not coordinator.get("ports"), "an unencrypted port must not be published on the host"


def test_database_is_on_a_volume_and_models_are_read_only():
    compose = resolved()
    mounts = [str(mount) for mount in compose["services"]["coordinator"]["volumes"]]
    assert any("/data" in mount for mount in mounts)
    assert "database" in compose["volumes"]
    for service in ("coordinator", "worker"):
        models = [mount for mount in compose["services"][service]["volumes"] if "/models" in str(mount)]
        assert models, service
        assert all(mount.endswith(":ro") if isinstance(mount, str) else mount["read_only"] for mount in models)


def test_worker_can_be_scaled():
    worker = resolved()["services"]["worker"]
    assert "container_name" not in worker
    assert not worker.get("ports")
    assert "tcp://coordinator:5555" in worker["command"]


def test_variables_reach_the_services():
    compose = resolved({"LONGROPE_IMAGE": "registry.example/longrope:7", "LONGROPE_CONFIG": "llama2-7b-128k.toml",
                        "LONGROPE_MODELS": "/srv/models"})
    assert {service["image"] for service in compose["services"].values()} == {"registry.example/longrope:7"}
    assert "/configs/llama2-7b-128k.toml" in compose["services"]["coordinator"]["command"]
    assert any("/srv/models" in str(mount) for mount in compose["services"]["worker"]["volumes"])


def test_default_configuration_exists():
    command = resolved()["services"]["coordinator"]["command"]
    words = command if isinstance(command, list) else command.split()
    configuration = next(word for word in words if word.startswith("/configs/"))
    assert (ROOT / "configs" / pathlib.Path(configuration).name).is_file()
