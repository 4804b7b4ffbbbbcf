"""The files for containers: validators accept them, they fit the server's settings, and the image and its stack work.

No container engine is needed: `images.py` carries out the steps of the image in a folder, and the services of the compose
file run as processes.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from .combinations import (
    ALL,
    API_PATTERNS,
    DATABASE_PATTERNS,
    NONE,
    PATTERNS,
    REDIS_PATTERNS,
    TEMPLATE,
    answers,
)
from .combinations import quoted
from .conftest import Bake
from .engines import PASSWORD, PostgresEngine, RedisEngine
from .images import (
    OTHER_USER,
    BuildFailed,
    Image,
    build,
    can_change_user,
    interpolated,
    last,
    new_folder,
    pairs,
    sent,
    steps,
)
from .project import Project, assert_passed
from .running import NGINX_PROGRAM, PATIENCE_SECONDS, Running, free_port, nginx, serving
from .scaling.replicas import REPLICAS, Replicas, Tally, call, counting, failure, stored, until_more

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="images are for Linux")

PROGRAMS = Path(sys.executable).parent
PROFILES = ("development", "staging", "production")
# Kubernetes has `preStop.sleep` since the first one.
KUBERNETES_VERSIONS = ("1.30", "1.37")
# What the files allow for everything after the grace period.
CLOSE_SECONDS = 10
GITHUB, GITLAB = "https://github.com/Acme/Weather", "https://gitlab.com/acme/team/weather"
CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "none": answers(NONE),
    "without settings from files": {"environment_config": False, "repository": GITHUB},
    "without probes and authentication": {"health_check": False, "authentication": False},
    "only a database": answers(frozenset({"lazy_initialization"})),
    "only a database and settings": answers(frozenset({"lazy_initialization", "environment_config"})),
    "only state": answers(frozenset({"state_management", "telemetry"})),
    "only a cache": answers(frozenset({"caching", "environment_config", "authentication"})),
    "only a rate limit": answers(frozenset({"rate_limiting"})),
    "odd texts": {
        "project_slug": "7-" + "long-" * 12 + "ab",
        "package_name": "long",
        "description": quoted('Says "5 $HOME" & \\, \U0001f600\nand #{{more}}'),
        "author_name": quoted('Ada "The" $1 \\'),
        "license": "Proprietary",
        "repository": GITLAB,
        **answers(ALL),
    },
}


def loaded(text: str) -> Any:
    return yaml.safe_load(text)


def run(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(PROGRAMS / command[0]), *command[1:]], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(params=CASES)
def project(bake_once: Bake, request: pytest.FixtureRequest) -> Project:
    return bake_once(**CASES[request.param])


@pytest.fixture
def chosen(project: Project, request: pytest.FixtureRequest) -> frozenset[str]:
    """Return the patterns of the project."""
    given = CASES[request.node.callspec.params["project"]]
    return frozenset(name for name in PATTERNS if given.get(name, name != "self_contained"))


class TestFiles:
    """What the files say, for every kind of project."""

    def test_hadolint_accepts_the_dockerfile(self, project: Project) -> None:
        assert_passed(run("hadolint", "Dockerfile", folder=project.path))

    def test_the_compose_file_has_the_published_form(self, project: Project) -> None:
        schema = ("--builtin-schema", "vendor.compose-spec")
        assert_passed(run("check-jsonschema", *schema, "compose.yaml", folder=project.path))

    @pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
    def test_kubernetes_accepts_each_manifest(self, project: Project, version: str) -> None:
        names = manifests(project)["kustomization"]["resources"]
        assert len(names) == 5
        for name in names:
            manifest = loaded(project.text(f"deploy/kubernetes/{name}"))
            kubernetes_validate.validate(manifest, version, strict=True)
            assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])

    @pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
    def test_kustomize_names_the_registry_and_the_settings(self, project: Project) -> None:
        built = subprocess.run(
            ["kubectl", "kustomize", str(project.path / "deploy" / "kubernetes")],
            capture_output=True,
            text=True,
            check=True,
        )
        found = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(built.stdout)}
        [server] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
        assert "/" in server["image"]
        assert server["image"] == server["image"].lower()
        assert server["envFrom"] == [{"configMapRef": {"name": found["ConfigMap"]["metadata"]["name"]}}]

    def test_every_part_selects_the_pods(self, project: Project) -> None:
        found = manifests(project)
        labels = found["deployment"]["spec"]["template"]["metadata"]["labels"]
        selectors = [
            found["deployment"]["spec"]["selector"]["matchLabels"],
            found["disruption"]["spec"]["selector"]["matchLabels"],
            found["network"]["spec"]["podSelector"]["matchLabels"],
            found["service"]["spec"]["selector"],
        ]
        assert selectors == [labels] * 4
        target = found["autoscaler"]["spec"]["scaleTargetRef"]
        assert target["name"] == found["deployment"]["metadata"]["name"]
        assert "replicas" not in found["deployment"]["spec"]
        assert found["autoscaler"]["spec"]["minReplicas"] == 3

    def test_a_container_is_restricted(self, project: Project) -> None:
        """As the profile `restricted` of Kubernetes' Pod Security Standards, with a read-only file system."""
        pod = manifests(project)["deployment"]["spec"]["template"]["spec"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod["automountServiceAccountToken"] is False
        [server] = pod["containers"]
        assert server["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for name, service in replicas(project).items():
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert "no-new-privileges:true" in service["security_opt"], name
        assert last(project.text("Dockerfile"), "USER") == "65532:0"

    def test_only_the_data_folder_is_declared_as_writable(
        self, project: Project, chosen: frozenset[str]
    ) -> None:
        stores = bool(chosen & set(DATABASE_PATTERNS))
        volumes = [step.arguments for step in steps(project.text("Dockerfile")) if step.name == "VOLUME"]
        assert volumes == ["/data"] * stores
        pod = manifests(project)["deployment"]["spec"]["template"]["spec"]
        mounts = pod["containers"][0].get("volumeMounts", [])
        assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == volumes

    def test_engines_come_with_the_patterns_that_can_use_them(
        self, project: Project, chosen: frozenset[str]
    ) -> None:
        services = compose(project)["services"]
        redis, database = bool(chosen & set(REDIS_PATTERNS)), "lazy_initialization" in chosen
        assert ("valkey" in services, "postgres" in services) == (redis, database)
        installed = [
            step.arguments for step in steps(project.text("Dockerfile")) if "uv sync" in step.arguments
        ]
        extras = [re.findall(r"--extra (\w+)", command) for command in installed]
        assert extras[0] == extras[1]
        needed = {"redis": redis, "postgres": bool(chosen & set(DATABASE_PATTERNS))}
        needed["telemetry"] = "telemetry" in chosen
        assert set(extras[0]) == {name for name, is_needed in needed.items() if is_needed}
        ports = {
            port["port"] for rule in manifests(project)["network"]["spec"]["egress"] for port in rule["ports"]
        }
        wanted = {443: True, 53: True, 6379: redis, 5432: database, 4318: "telemetry" in chosen}
        assert ports == {port for port, is_wanted in wanted.items() if is_wanted}

    def test_every_variable_is_a_setting(self, project: Project) -> None:
        named = set(configured(project)) | {name.upper() for name in secrets(project)}
        for service in replicas(project).values():
            named |= set(service["environment"]) | {name.upper() for name in service.get("secrets", [])}
        named |= set(pairs(last(project.text("Dockerfile"), "ENV"))) - {"PATH", "XDG_DATA_HOME"}
        assert named <= known_settings(project)
        assert named >= {"HTTP_HOST", "TRUSTED_PROXIES", "PUBLIC_URL"}

    def test_no_variable_has_a_password(self, project: Project) -> None:
        texts = [
            project.text(name) for name in ("Dockerfile", "compose.yaml", "deploy/kubernetes/config.env")
        ]
        for text in texts:
            for login in re.findall(r"://([^@/\s]+)@", text):
                assert re.fullmatch(r"app:\$\{POSTGRES_PASSWORD:\?.+", login), login
            for value in re.findall(r"POSTGRES_PASSWORD(?:_FILE)?: (.+)", text):
                assert value.startswith(("${", "/run/secrets/"))

    def test_git_and_the_image_leave_secrets_out(self, project: Project) -> None:
        """Every file that the README tells to write."""
        written = set(re.findall(r">> ?(\S+)|> (secrets\S+)|\b(secrets\.env)\b", project.text("README.md")))
        names = {name for found in written for name in found if name}
        ignored = project.text(".gitignore").splitlines()
        for name in names:
            assert name in ignored or f"{name.partition('/')[0]}/" in ignored, name
        assert ".env" in names
        assert not [path for path in sent(project.path) if not path.startswith("src/") and path not in BUILT]

    def test_labels_name_the_server_and_its_repository(self, project: Project) -> None:
        labels = pairs(last(project.text("Dockerfile"), "LABEL"))
        name = project.path.name
        prefix = "org.opencontainers.image"
        assert labels[f"{prefix}.title"] == name
        [source] = [labels.get(f"{prefix}.source")]
        expected = f"io.github.Acme/{name}" if source == GITHUB else None
        assert labels.get("io.modelcontextprotocol.server.name") == expected


BUILT = {"LICENSE", "README.md", "pyproject.toml", "uv.lock"}


def test_odd_texts_reach_the_labels_unchanged(bake_once: Bake) -> None:
    text = bake_once(**CASES["odd texts"]).text("Dockerfile")
    labels = pairs(last(text, "LABEL"))
    prefix = "org.opencontainers.image"
    assert labels[f"{prefix}.description"] == 'Says "5 $HOME" & \\, \U0001f600 and #{{more}}'
    assert labels[f"{prefix}.authors"] == 'Ada "The" $1 \\ <you@example.com>'
    assert labels[f"{prefix}.licenses"] == "LicenseRef-Proprietary"
    # Docker replaces a variable whose dollar sign is not escaped.
    assert not re.search(r"(?<!\\)\$[A-Z1]", last(text, "LABEL"))


def test_without_containers_a_project_has_none_of_their_files(bake_once: Bake) -> None:
    project = bake_once(container=False)
    names = {"Dockerfile", ".dockerignore", "compose.yaml", "deploy"}
    assert not names & {path.name for path in project.path.iterdir()}
    texts = project.text("README.md") + project.text(".gitignore")
    assert not re.search("docker|compose|secrets/$", texts, flags=re.IGNORECASE)


def manifests(project: Project) -> dict[str, Any]:
    folder = project.path / "deploy" / "kubernetes"
    return {path.stem: loaded(path.read_text(encoding="utf-8")) for path in folder.glob("*.yaml")}


def compose(project: Project) -> Any:
    return loaded(project.text("compose.yaml"))


def replicas(project: Project) -> dict[str, Any]:
    services = compose(project)["services"]
    found = {name: service for name, service in services.items() if name.startswith("server-")}
    assert len(found) == REPLICAS
    return found


def configured(project: Project) -> dict[str, str]:
    """Return the variables of config.env."""
    lines = project.text("deploy/kubernetes/config.env").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def secrets(project: Project) -> list[str]:
    """Return the keys of the Secret that the deployment needs."""
    pod = manifests(project)["deployment"]["spec"]["template"]["spec"]
    files = [
        item["key"] for volume in pod.get("volumes", []) for item in volume.get("secret", {}).get("items", [])
    ]
    variables = [item["valueFrom"]["secretKeyRef"]["key"] for item in pod["containers"][0].get("env", [])]
    return files + variables


SETTINGS = """
import importlib, json, os, pkgutil, sys
package = importlib.import_module(sys.argv[1])
modules = [importlib.import_module(item.name) for item in pkgutil.walk_packages(package.__path__, sys.argv[1] + ".")
           if not item.name.endswith("__main__")]
from_package = {module.__name__.removeprefix(sys.argv[1] + "."): module for module in modules}
settings = from_package["settings"].Settings.__subclasses__()
serving = from_package["runtime.serving"].ServingSettings
drain, ending, http = (from_package["runtime." + name] for name in ("drain", "ending", "http"))
flushes = [getattr(module, "FLUSH_SECONDS") for name, module in from_package.items()
           if name in ("patterns.telemetry", "utils") and hasattr(module, "RequestTelemetry")]
periods = {}
for profile in ("development", "staging", "production"):
    os.environ["ENVIRONMENT"] = profile
    periods[profile] = [serving().shutdown_delay_seconds, serving().shutdown_grace_seconds]
print(json.dumps({
    "names": [name.upper() for one in settings for name in one.model_fields],
    "periods": periods,
    "close": max(drain.CLOSE_SECONDS, http.KILL_SECONDS + http.END_SECONDS) + ending.LAST_SECONDS,
    "flush": sum(flushes),
}))
"""


def settings_of(project: Project) -> Any:
    """Return what the code of a project says about its settings and about its shutdown."""
    done = project.run("-c", SETTINGS, project.package_name)
    assert_passed(done)
    return json.loads(done.stdout)


def known_settings(project: Project) -> set[str]:
    return set(settings_of(project)["names"])


def test_every_grace_period_covers_the_delay_the_calls_and_the_end(
    project: Project, chosen: frozenset[str]
) -> None:
    """For every profile, and to the second: if a default or a profile grows, the files must grow with it."""
    told = settings_of(project)
    assert told["periods"].keys() == set(PROFILES)
    assert (told["flush"] > 0) == ("telemetry" in chosen)
    assert told["close"] + told["flush"] <= CLOSE_SECONDS
    longest = max(delay + grace for delay, grace in told["periods"].values()) + CLOSE_SECONDS
    services = compose(project)["services"]
    for name in [*replicas(project), "proxy"]:
        assert seconds(services[name]["stop_grace_period"]) == longest, name
    pod = manifests(project)["deployment"]["spec"]["template"]["spec"]
    pre_stop = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pre_stop >= 5
    assert pod["terminationGracePeriodSeconds"] == pre_stop + longest
    for name in ("compose.yaml", "deploy/kubernetes/deployment.yaml"):
        [shown] = re.findall(r"SHUTDOWN_GRACE_SECONDS \((\d+)", project.text(name))
        assert int(shown) + CLOSE_SECONDS == longest


def seconds(period: str) -> float:
    assert period.endswith("s")
    return float(period[:-1])


START = "import sys; from importlib import import_module as load; load(sys.argv[1] + '.__main__').load()"
URLS = {"DATABASE_URL": "postgresql://app@db.example.com/app"}


def test_the_settings_of_the_cluster_are_valid_together(project: Project, tmp_path: Path) -> None:
    given = {name: URLS.get(name, "redis://redis.example.com/0") for name in map(str.upper, secrets(project))}
    assert_passed(project.run("-c", START, project.package_name, **configured(project), **given))


def test_the_engines_of_the_cluster_come_from_the_secret(project: Project, chosen: frozenset[str]) -> None:
    needed = {"DATABASE_URL": "lazy_initialization", "STATE_URL": "state_management"}
    needed |= {"CACHE_URL": "caching", "RATE_LIMIT_URL": "rate_limiting"}
    named = secrets(project)
    assert {name.upper() for name in named} == {name for name, pattern in needed.items() if pattern in chosen}
    is_file = "environment_config" in chosen
    assert all(name.islower() == is_file for name in named)


def test_the_proxy_is_configured_as_the_page_about_replicas_says(project: Project) -> None:
    page = (TEMPLATE / "docs" / "scaling.md").read_text(encoding="utf-8")
    documented = page.split("```nginx\n")[1].split("```")[0]
    shipped = project.text("deploy/nginx.conf")
    assert location(shipped) == location(documented)
    assert shipped.count("max_fails=0;") == documented.count("max_fails=0;") == REPLICAS
    assert set(re.findall(r"server (server-\d):8000 resolve", shipped)) == set(replicas(project))
    proxy = compose(project)["services"]["proxy"]
    assert "./deploy/nginx.conf:/etc/nginx/conf.d/default.conf:ro" in proxy["volumes"]
    [port] = re.findall(r"listen (\d+);", shipped)
    [published] = proxy["ports"]
    assert published == f"127.0.0.1:${{PORT:-8000}}:{port}"


def location(text: str) -> str:
    return text[text.index("    location /") :]


def test_the_servers_trust_the_network_of_the_proxy(project: Project) -> None:
    [network] = compose(project)["networks"]["default"]["ipam"]["config"]
    for service in replicas(project).values():
        assert service["environment"]["TRUSTED_PROXIES"] == network["subnet"]
        assert "default" in service.get("networks", ["default"])


def test_nobody_is_served_without_authentication_by_default(project: Project, chosen: frozenset[str]) -> None:
    for service in replicas(project).values():
        assert service["environment"]["ALLOW_UNAUTHENTICATED"] == "${ALLOW_UNAUTHENTICATED:-false}"
    assert "ALLOW_UNAUTHENTICATED" not in pairs(last(project.text("Dockerfile"), "ENV"))
    told = configured(project)
    assert told.get("ALLOW_UNAUTHENTICATED", "false") == "false"
    assert ("AUTH_ISSUER" in told) == ("authentication" in chosen)


def test_probes_ask_what_the_server_answers(project: Project, chosen: frozenset[str]) -> None:
    [server] = manifests(project)["deployment"]["spec"]["template"]["spec"]["containers"]
    probes = {name: probe for name, probe in server.items() if name.endswith("Probe")}
    assert probes.keys() == {"startupProbe", "livenessProbe", "readinessProbe"}
    healthy = last(project.text("Dockerfile"), "HEALTHCHECK")
    proxied = " ".join(compose(project)["services"]["proxy"]["healthcheck"]["test"])
    if "health_check" in chosen:
        paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
        assert paths.pop("readinessProbe") == "/readyz"
        assert set(paths.values()) == {"/livez"}
        assert "'/livez'" in healthy
        assert proxied.endswith("/livez")
    else:
        assert all(probe["tcpSocket"] == {"port": "http"} for probe in probes.values())
        assert "livez" not in healthy + proxied


def test_an_uneven_number_of_apis_needs_a_url(project: Project, chosen: frozenset[str]) -> None:
    """An API tool fails without API_BASE_URL, and readiness says so."""
    uses_api = bool(chosen & set(API_PATTERNS))
    for service in replicas(project).values():
        assert ("API_BASE_URL" in service["environment"]) == uses_api
    assert ("API_BASE_URL" in configured(project)) == uses_api


# --- The image, and the stack of the compose file, as processes. ---


@dataclass
class Built:
    """A project and its image."""

    project: Project
    image: Image


@contextmanager
def built(project: Project) -> Iterator[Built]:
    folder = new_folder()
    try:
        yield Built(project, build(project.path, folder))
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def whole(bake_once: Bake) -> Iterator[Built]:
    """Build the image of a project with every pattern. It has no uv.lock."""
    with built(bake_once()) as made:
        yield made


@contextmanager
def started(image: Image, *flags: str, user: int | None = None, **variables: str) -> Iterator[Running]:
    """Serve on a free port of loopback."""
    given = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(free_port()), **variables}
    with serving(image.start(*flags, user=user, **given)) as server:
        yield server


FIRST_CALLS: dict[str, dict[str, Any]] = {
    "process_data": {"text": "tea for two"},
    "increment_counter": {"name": "first"},
    "database_operation": {"query": "a"},
}
processes = pytest.mark.matrix


@processes
@pytest.mark.parametrize("user", [None, OTHER_USER], ids=["the image's user", "a user of OpenShift"])
def test_the_first_run_serves_and_writes_only_to_the_data_folder(whole: Built, user: int | None) -> None:
    """Without HOME, with no variable but the image's, as its user."""
    if user and not can_change_user():
        pytest.skip("only root can start a process as another user")
    image = whole.image
    reset_data(image)
    if can_change_user():
        assert image.writable(user) == ["data"]
    with started(image, user=user) as server:
        for tool, arguments in FIRST_CALLS.items():
            assert failure(asyncio.run(call(server.port, tool, **arguments))) is None
        owner = Path(f"/proc/{server.process.pid}")
        if can_change_user() and owner.exists():
            assert (owner.stat().st_uid, owner.stat().st_gid) == (user or 65532, 0)
        assert image.is_healthy(HTTP_PORT=str(server.port))
        server.process.terminate()
        assert server.process.wait(PATIENCE_SECONDS) == -15
    assert [path.name for path in (image.folder / "data").rglob("*.db")] == ["users.db"]


def reset_data(image: Image) -> None:
    """Empty the data folder, as that of a new volume."""
    for path in (image.folder / "data").iterdir():
        shutil.rmtree(path)


@processes
def test_what_was_written_survives_the_container(whole: Built) -> None:
    url = f"sqlite:///{whole.image.folder}/data/state.db"
    for expected in (1, 2):
        with started(whole.image, STATE_URL=url) as server:
            reply = asyncio.run(call(server.port, "increment_counter", name="kept"))
            assert reply.result["structuredContent"]["value"] == expected


@processes
def test_all_code_of_the_image_is_compiled_and_none_is_of_the_tests(whole: Built) -> None:
    [packages] = (whole.image.folder / "app" / "lib").glob("python3.*/site-packages")
    package = packages / whole.project.package_name
    sources = list(package.rglob("*.py"))
    assert len(sources) > 40
    for source in sources:
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source
    installed = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert installed >= {"fastmcp", "redis", "asyncpg", "opentelemetry_sdk"}
    assert not installed & {"pytest", "mypy", "ruff", "uv", "pip"}
    # Not editable: the folder that it was built in is not part of the image.
    assert not list(packages.glob("*.pth")) or "src" not in "".join(
        path.read_text(encoding="utf-8") for path in packages.glob("*.pth")
    )


@processes
def test_on_a_public_address_the_image_asks_for_a_decision(whole: Built) -> None:
    """With the variables of the image alone, it does not even open the port."""
    process = whole.image.start()
    _, printed = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert printed.decode().count("\n") == 1
    assert "0.0.0.0" in printed.decode()
    assert "set ALLOW_UNAUTHENTICATED=true" in printed.decode()


@processes
def test_the_health_check_fails_without_a_server(whole: Built) -> None:
    assert not whole.image.is_healthy(HTTP_PORT=str(free_port()))


@processes
def test_the_health_check_fails_while_the_port_answers_with_an_error(whole: Built) -> None:
    """As a server that has no such path."""

    async def check() -> bool:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1") as server:
            port = str(server.sockets[0].getsockname()[1])
            return await asyncio.to_thread(partial(whole.image.is_healthy, HTTP_PORT=port))

    assert asyncio.run(check()) is False


@processes
def test_probes_pass_with_the_address_of_the_pod_as_host(whole: Built) -> None:
    """As the kubelet sends them. No address that is not of this machine's loopback is used here."""
    with started(whole.image, HTTP_HOST="127.0.0.2", API_BASE_URL="example") as server:
        for path in ("/livez", "/readyz"):
            url = f"http://127.0.0.2:{server.port}{path}"
            assert status_of(whole.image, url) == 200
            assert status_of(whole.image, url, host="mcp.example.com") == 421
    with started(whole.image, HTTP_HOST="127.0.0.2", PUBLIC_URL="https://mcp.example.com") as server:
        assert status_of(whole.image, f"http://127.0.0.2:{server.port}/livez", host="mcp.example.com") == 200


def status_of(image: Image, url: str, host: str = "") -> int:
    """Ask for a URL, with another Host if one is given."""
    script = (
        "import http.client, sys, urllib.parse\n"
        "url = urllib.parse.urlsplit(sys.argv[1])\n"
        "asked = http.client.HTTPConnection(url.hostname, url.port, timeout=60)\n"
        "asked.request('GET', url.path, headers={'Host': sys.argv[2] or url.netloc})\n"
        "print(asked.getresponse().status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, url, host], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@processes
def test_the_image_is_built_from_the_lock_file_and_not_with_a_stale_one(bake: Bake) -> None:
    project = bake(**answers(NONE))
    folder = new_folder()
    try:
        image = build(project.path, folder)
        lock = folder / "uv.lock"
        assert not (project.path / "uv.lock").exists()
        assert image.entrypoint == [project.path.name]
        assert not lock.exists()
        (project.path / "uv.lock").write_text('version = 1\nrequires-python = ">=3.11"\n', encoding="utf-8")
        with pytest.raises(BuildFailed, match=r"lock"):
            build(project.path, folder)
    finally:
        shutil.rmtree(folder)


DOCKER = """\
#!/bin/sh
echo "$*" >> "$DOCKER_LOG"
"""


@dataclass
class Stack:
    """The compose stack: its replicas, the port of its proxy, and what the README's commands have written."""

    replicas: "ImageReplicas"
    port: int
    secrets: Path


class ImageReplicas(Replicas):
    """Replicas that are started from an image."""

    def __init__(self, image: Image, **variables: str) -> None:
        super().__init__(Project(image.folder, ""), image.folder, **variables)
        self._image = image

    def _start(self, *flags: str) -> tuple[Running, ExitStack]:
        stack = ExitStack()
        process = self._image.start(*(flags or ("--port", "0")), **self.variables)
        return stack.enter_context(serving(process)), stack


def follow_readme(project: Project, folder: Path) -> dict[str, str]:
    """Run the commands of the README for the stack, and return the variables that they have written to `.env`."""
    section = project.text("README.md").split("### With Docker Compose\n")[1]
    commands = section.split("```sh\n")[1].split("```")[0]
    programs = folder / "programs"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER, encoding="utf-8")
    (programs / "docker").chmod(0o755)
    log = folder / "docker.log"
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    subprocess.run(
        ["sh", "-eu", "-c", commands], cwd=folder, env={"PATH": path, "DOCKER_LOG": str(log)}, check=True
    )
    assert log.read_text(encoding="utf-8") == "compose up --build --wait\n"
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def stack_of(made: Built, folder: Path) -> Iterator[Stack]:
    """Run what the compose file describes, with its commands and configuration, on ports of loopback."""
    told = compose(made.project)
    written = follow_readme(made.project, folder)
    variables = {
        name: interpolated(value, written)
        for name, value in told["services"]["server-1"]["environment"].items()
    }
    assert variables["ALLOW_UNAUTHENTICATED"] == "true"
    with ExitStack() as stack:
        valkey = stack.enter_context(RedisEngine(options=options(told["services"]["valkey"]["command"])))
        postgres = stack.enter_context(PostgresEngine())
        database_url = variables.get("DATABASE_URL", "")
        if not database_url:
            database_url = (folder / "secrets" / "database_url").read_text(encoding="utf-8")
            assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
            password = (folder / "secrets" / "postgres_password").read_text(encoding="utf-8")
        else:
            password = written["POSTGRES_PASSWORD"]
        assert password != PASSWORD
        postgres.execute(f"ALTER ROLE app PASSWORD '{password}'")
        real = {
            "redis://valkey:6379/0": f"redis://{valkey.address}/0",
            "172.30.80.0/24": "127.0.0.1",
            "0.0.0.0": "127.0.0.1",
        }
        variables = {name: real.get(value, value) for name, value in variables.items()}
        assert "@postgres/" in database_url
        database_url = database_url.replace("@postgres/", f"@{postgres.address}/")
        mounted = made.image.folder / "secrets"
        if "DATABASE_URL" in variables:
            variables["DATABASE_URL"] = database_url
        else:
            mounted.mkdir(exist_ok=True)
            (mounted / "database_url").write_text(database_url, encoding="utf-8")
            variables["SECRETS_DIR"] = str(mounted)
        # Clients of the test are many callers of one proxy.
        variables |= {"RATE_LIMIT_PER_MINUTE": "60", "RATE_LIMIT_BURST": "100"}
        running = ImageReplicas(made.image, **variables)
        stack.callback(running.close)
        running.add(REPLICAS)
        port = free_port()
        stack.enter_context(
            nginx(folder, port, local(made.project.text("deploy/nginx.conf"), running.ports, port))
        )
        yield Stack(running, port, mounted)


def options(command: list[str]) -> dict[str, str]:
    """Return the options of the command of Valkey."""
    program, *words = command
    assert program == "valkey-server"
    names, values = words[::2], words[1::2]
    return {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}


def local(config: str, ports: list[int], port: int) -> str:
    """Return the proxy's configuration for replicas on loopback, whose addresses do not change."""
    config, resolvers = re.subn(r" *resolver 127\.0\.0\.11 .*\n", "", config)
    assert resolvers == 1
    for number, replica in enumerate(ports, start=1):
        name = f"server server-{number}:8000 resolve max_fails=0;"
        assert config.count(name) == 1
        config = config.replace(name, f"server 127.0.0.1:{replica} max_fails=0;")
    assert config.count("listen 8080;") == 1
    return config.replace("listen 8080;", f"listen 127.0.0.1:{port};")


# So that each replica serves from connections that the proxy has kept open.
CALLS_BETWEEN = 60
STACKS = {"secret files": {}, "variables": {"environment_config": False}}


@processes
@pytest.mark.engines
@pytest.mark.skipif(NGINX_PROGRAM is None, reason="nginx is not installed")
@pytest.mark.parametrize("kind", STACKS)
def test_the_stack_serves_from_the_first_call_to_a_rolling_restart(
    bake_once: Bake, whole: Built, kind: str, tmp_path: Path
) -> None:
    """Replicas share their state, and restarting each under load fails no call and loses no increment."""

    async def roll(stack: Stack) -> tuple[Tally, list[int]]:
        codes = []
        async with counting([stack.port], "rolled", clients=6) as tally:
            for index in range(REPLICAS):
                await until_more(tally, CALLS_BETWEEN)
                codes.append(await asyncio.to_thread(stack.replicas.restart, index))
            await until_more(tally, CALLS_BETWEEN)
        return tally, codes

    with ExitStack() as open_:
        made = open_.enter_context(built(bake_once(**STACKS[kind]))) if STACKS[kind] else whole
        stack = open_.enter_context(stack_of(made, tmp_path))
        for tool, arguments in FIRST_CALLS.items():
            assert failure(asyncio.run(call(stack.port, tool, **arguments))) is None
        for expected, port in enumerate(stack.replicas.ports, start=1):
            reply = asyncio.run(call(port, "increment_counter", name="shared"))
            assert reply.result["structuredContent"]["value"] == expected
        tally, codes = asyncio.run(roll(stack))
        assert codes == [-15] * REPLICAS
        assert tally.acknowledged == tally.calls, tally
        assert asyncio.run(stored(stack.replicas.ports[0], "rolled")) == tally.acknowledged
        assert not list((made.image.folder / "data").rglob("users.db*")) or kind == "secret files"
