"""The container files pass validators, and match the server's settings."""

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from .combinations import (
    ALL,
    API_PATTERNS,
    DATABASE_PATTERNS,
    NONE,
    PATTERNS,
    REDIS_PATTERNS,
    TEMPLATE,
    answers,
    quoted,
)
from .conftest import Bake
from .images import last, pairs, sent, steps
from .project import Project, assert_passed
from .running import nginx_command
from .scaling.replicas import REPLICAS

PROGRAMS = Path(sys.executable).parent
PROFILES = ("development", "staging", "production")
# The first version is the oldest that supports `preStop.sleep`.
KUBERNETES_VERSIONS = ("1.30", "1.37")
# The time that the files allow for shutdown after the grace period.
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
    "only a rate limit": {
        **answers(frozenset({"rate_limiting"})),
        "repository": "https://git.example.com/a/b",
    },
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
def chosen(request: pytest.FixtureRequest) -> frozenset[str]:
    """Return the patterns of the project."""
    given = CASES[request.node.callspec.params["project"]]
    return frozenset(name for name in PATTERNS if given.get(name, name != "self_contained"))


def test_hadolint_accepts_the_dockerfile(project: Project) -> None:
    assert_passed(run("hadolint", "Dockerfile", folder=project.path))


def test_the_compose_file_has_the_published_form(project: Project) -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert_passed(run("check-jsonschema", *schema, "compose.yaml", folder=project.path))


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_accepts_each_manifest(project: Project, version: str) -> None:
    names = manifests(project)["kustomization"]["resources"]
    assert len(names) == 5
    for name in names:
        manifest = loaded(project.text(f"deploy/kubernetes/{name}"))
        kubernetes_validate.validate(manifest, version, strict=True)
        assert re.fullmatch("[a-z]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kustomize_names_the_registry_and_the_settings(project: Project) -> None:
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
    assert server["envFrom"][0] == {"configMapRef": {"name": found["ConfigMap"]["metadata"]["name"]}}


def test_every_part_selects_the_pods(project: Project) -> None:
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


def test_a_container_is_restricted(project: Project) -> None:
    """It meets the `restricted` profile of the Kubernetes Pod Security Standards, with a read-only file system."""
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


def test_only_the_data_folder_is_declared_as_writable(project: Project, chosen: frozenset[str]) -> None:
    stores = bool(chosen & set(DATABASE_PATTERNS))
    volumes = [step.arguments for step in steps(project.text("Dockerfile")) if step.name == "VOLUME"]
    assert volumes == ["/data"] * stores
    pod = manifests(project)["deployment"]["spec"]["template"]["spec"]
    mounts = pod["containers"][0].get("volumeMounts", [])
    assert [mount["mountPath"] for mount in mounts if not mount.get("readOnly")] == volumes


def test_engines_come_with_the_patterns_that_can_use_them(project: Project, chosen: frozenset[str]) -> None:
    services = compose(project)["services"]
    redis, database = bool(chosen & set(REDIS_PATTERNS)), "lazy_initialization" in chosen
    assert ("valkey" in services, "postgres" in services) == (redis, database)
    if "valkey" in services:
        command = " ".join(services["valkey"]["command"])
        assert ("--appendonly yes" in command) == ("state_management" in chosen)
        assert "--maxmemory-policy volatile-lru" in command
    installed = [step.arguments for step in steps(project.text("Dockerfile")) if "uv sync" in step.arguments]
    extras = [re.findall(r"--extra (\w+)", command) for command in installed]
    assert extras[0] == extras[1]
    needed = {"redis": redis, "postgres": bool(chosen & set(DATABASE_PATTERNS))}
    needed["telemetry"] = "telemetry" in chosen
    assert set(extras[0]) == {name for name, is_needed in needed.items() if is_needed}
    ports = {
        port["port"] for rule in manifests(project)["network"]["spec"]["egress"] for port in rule["ports"]
    }
    wanted = {443: True, 53: True, 5353: True, 6379: redis, 5432: database, 4318: "telemetry" in chosen}
    assert ports == {port for port, is_wanted in wanted.items() if is_wanted}


def test_every_variable_is_a_setting(project: Project) -> None:
    named = set(configured(project)) | {name.upper() for name in secrets(project)}
    for service in replicas(project).values():
        named |= set(service["environment"]) | {name.upper() for name in service.get("secrets", [])}
    named |= set(pairs(last(project.text("Dockerfile"), "ENV"))) - {"PATH", "XDG_DATA_HOME"}
    assert named <= set(settings_of(project)["names"])
    assert named >= {"HTTP_HOST", "TRUSTED_PROXIES", "PUBLIC_URL"}


def test_no_variable_has_a_password(project: Project) -> None:
    texts = [project.text(name) for name in ("Dockerfile", "compose.yaml", "deploy/kubernetes/config.env")]
    for text in texts:
        for login in re.findall(r"://([^@/\s]+)@", text):
            assert re.fullmatch(r"app:\$\{POSTGRES_PASSWORD:\?.+", login), login
        for value in re.findall(r"POSTGRES_PASSWORD(?:_FILE)?: (.+)", text):
            assert value.startswith(("${", "/run/secrets/"))


def test_git_ignores_each_file_with_secrets_that_the_readme_names(project: Project) -> None:
    text = project.text("README.md")
    written = {*re.findall(r">> (\S+)", text), *re.findall(r"\b(secrets(?:/\S*|\.env))", text)}
    ignored = project.text(".gitignore").splitlines()
    for name in written:
        assert name in ignored or f"{name.partition('/')[0]}/" in ignored, name
    assert written & {"secrets/", "secrets.env"}


def test_labels_name_the_server_and_its_repository(project: Project) -> None:
    labels = pairs(last(project.text("Dockerfile"), "LABEL"))
    assert labels["org.opencontainers.image.title"] == project.path.name
    published = project.path / "server.json"
    server = json.loads(published.read_text(encoding="utf-8")) if published.exists() else {}
    assert labels.get("io.modelcontextprotocol.server.name") == server.get("name")
    assert ("org.opencontainers.image.source" in labels) == published.exists()


def test_the_image_is_built_without_secrets_and_history(bake: Bake) -> None:
    project = bake()
    for name in (".env", "secrets/database_url", ".git/config", "uv.lock", "src/__pycache__/a.pyc"):
        (project.path / name).parent.mkdir(exist_ok=True)
        (project.path / name).write_text("secret", encoding="utf-8")
    files = sent(project.path)
    package = f"src/{project.package_name}/"
    others = [name for name in files if not name.startswith(package)]
    assert others == ["LICENSE", "README.md", "pyproject.toml", "uv.lock"]
    assert len(files) > 40


def test_odd_texts_reach_the_labels_unchanged(bake_once: Bake) -> None:
    text = bake_once(**CASES["odd texts"]).text("Dockerfile")
    labels = pairs(last(text, "LABEL"))
    prefix = "org.opencontainers.image"
    assert labels[f"{prefix}.description"] == 'Says "5 $HOME" & \\, \U0001f600 and #{{more}}'
    assert labels[f"{prefix}.authors"] == 'Ada "The" $1 \\ <you@example.com>'
    assert labels[f"{prefix}.licenses"] == "LicenseRef-Proprietary"
    # Docker expands variables unless the dollar sign is escaped.
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
        item["key"] for source in secret_sources(pod) for item in source.get("items", []) if required(source)
    ]
    variables = [item["valueFrom"]["secretKeyRef"]["key"] for item in pod["containers"][0].get("env", [])]
    return files + variables


def secret_sources(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the Secrets whose keys the pod has as files in the default of SECRETS_DIR."""
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0].get("volumeMounts", [])}
    return [
        source["secret"]
        for volume in pod.get("volumes", [])
        if mounted[volume["name"]] == "/run/secrets"
        for source in volume["projected"]["sources"]
    ]


def required(source: dict[str, Any]) -> bool:
    return not source.get("optional", False)


SETTINGS = """
import importlib, json, os, pkgutil, sys
name = sys.argv[1]
found = {}
for folder in ("", "runtime", "patterns"):
    path = os.path.join("src", name, folder)
    for module in pkgutil.iter_modules([path]):
        if not (module.ispkg or module.name in ("__main__", "server")):
            place = ".".join(filter(None, (folder, module.name)))
            found[place] = importlib.import_module(f"{name}.{place}")
settings = found["settings"].Settings.__subclasses__()
drain, ending, http = (found["runtime." + stem] for stem in ("drain", "ending", "http"))
telemetry = [module for module in found.values() if hasattr(module, "RequestTelemetry")]
problem = ""
try:
    found["settings"].check_settings()
except found["settings"].InvalidSettings as error:
    problem = str(error)
periods = {}
for profile in ("development", "staging", "production"):
    os.environ["ENVIRONMENT"] = profile
    serving = found["runtime.serving"].ServingSettings()
    periods[profile] = [serving.shutdown_delay_seconds, serving.shutdown_grace_seconds]
print(json.dumps({
    "names": [field.upper() for one in settings for field in one.model_fields],
    "problem": problem,
    "periods": periods,
    "close": max(drain.CLOSE_SECONDS, http.KILL_SECONDS + http.END_SECONDS) + ending.LAST_SECONDS,
    "flush": sum(module.FLUSH_SECONDS for module in telemetry),
}))
"""
URLS = {"DATABASE_URL": "postgresql://app@db.example.com/app"}


@cache
def settings_of(project: Project) -> Any:
    """Return the settings and shutdown periods that a project's code computes with the settings of the cluster."""
    given = {name: URLS.get(name, "redis://redis.example.com/0") for name in map(str.upper, secrets(project))}
    done = project.run("-c", SETTINGS, project.package_name, **configured(project), **given)
    assert_passed(done)
    return json.loads(done.stdout)


def test_every_grace_period_covers_the_delay_the_calls_and_the_end(
    project: Project, chosen: frozenset[str]
) -> None:
    """Every profile is exact to the second: if a default or a profile grows, the files must grow too."""
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


def test_the_settings_of_the_cluster_are_valid_together(project: Project) -> None:
    assert settings_of(project)["problem"] == ""


def test_the_engines_of_the_cluster_come_from_the_secret(project: Project, chosen: frozenset[str]) -> None:
    needed = {"DATABASE_URL": "lazy_initialization", "STATE_URL": "state_management"}
    needed |= {"CACHE_URL": "caching", "RATE_LIMIT_URL": "rate_limiting"}
    named = secrets(project)
    assert {name.upper() for name in named} == {name for name, pattern in needed.items() if pattern in chosen}
    is_file = "environment_config" in chosen
    assert all(name.islower() == is_file for name in named)


def test_every_other_key_of_the_secret_reaches_the_server(project: Project, chosen: frozenset[str]) -> None:
    """Such as a key for the API or for logins. A pod starts without a Secret if it requires none of its keys."""
    pod = manifests(project)["deployment"]["spec"]["template"]["spec"]
    whole = {"name": manifests(project)["deployment"]["metadata"]["name"], "optional": True}
    as_variables = [one["secretRef"] for one in pod["containers"][0]["envFrom"] if "secretRef" in one]
    as_files = [source for source in secret_sources(pod) if not required(source)]
    assert (as_variables, as_files) == (([], [whole]) if "environment_config" in chosen else ([whole], []))
    commands = kubernetes_section(project)
    assert f"kubectl create secret generic {whole['name']} --from-" in commands


def test_the_readme_pushes_the_image_that_it_built(project: Project) -> None:
    commands = kubernetes_section(project)
    assert f'docker tag {project.path.name} "$image"\n' in commands
    assert 'docker push "$image"\n' in commands
    [image] = re.findall(r"image=(\S+)", commands)
    assert re.fullmatch(r"[a-z0-9.-]+/[a-z0-9-]+:[0-9.]+", image)


def kubernetes_section(project: Project) -> str:
    return project.text("README.md").split("\n### In Kubernetes\n")[1].split("\n## ")[0]


def test_names_can_be_resolved_in_kubernetes_and_in_openshift(project: Project) -> None:
    """The policy applies to the pods of the resolver: those of OpenShift listen on port 5353."""
    egress = manifests(project)["network"]["spec"]["egress"]
    [resolving] = [rule for rule in egress if "to" in rule]
    namespaces = {
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in resolving["to"]
    }
    assert namespaces == {"kube-system", "openshift-dns"}
    ports = {(port["port"], port.get("protocol", "TCP")) for port in resolving["ports"]}
    assert ports == {(port, protocol) for port in (53, 5353) for protocol in ("TCP", "UDP")}


def test_only_compose_serves_without_authentication(project: Project) -> None:
    """A server on the same machine may read `.env` too, and later listen on a public address."""
    section = project.text("README.md").split("### With Docker Compose\n")[1].split("\n### ")[0]
    commands = "".join(re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL))
    written = set(re.findall(r'echo "?(\w+)=.*>> \.env', commands))
    assert not written & set(settings_of(project)["names"])
    assert "export" not in commands
    starts = [line.strip() for line in commands.splitlines() if "docker compose up" in line]
    assert len(starts) == 2
    assert all(line.startswith("ALLOW_UNAUTHENTICATED=true docker compose up ") for line in starts)


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


def test_nginx_accepts_its_configuration(project: Project, tmp_path: Path) -> None:
    command = nginx_command(tmp_path, project.text("deploy/nginx.conf"))
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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


def test_a_server_that_calls_an_api_is_told_which(project: Project, chosen: frozenset[str]) -> None:
    """Without API_BASE_URL, API tools fail, and the readiness check reports it."""
    uses_api = bool(chosen & set(API_PATTERNS))
    for service in replicas(project).values():
        assert ("API_BASE_URL" in service["environment"]) == uses_api
    assert ("API_BASE_URL" in configured(project)) == uses_api
