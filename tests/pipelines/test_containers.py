"""What configs/examples/container/ has: files that agree with each other, and a program that works as they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver.config.load import load_account
from pipelines.cli.main import EXIT_CODES, archiver
from tests.accounts import PROJECT, account_file
from tests.patience import PATIENCE
from tests.servers.dovecot import Dovecot
from tests.servers.mail_server import wait
from tests.servers.scripted import ScriptedServer

EXAMPLES = PROJECT / "configs" / "examples" / "container"
DOCKERFILE = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: Any = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))
CRONJOB = (EXAMPLES / "cronjob.yaml").read_text(encoding="utf-8")
CLAIM, JOB = list(yaml.safe_load_all(CRONJOB))
POD: Any = JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
# As an image runs: process 1, no capabilities, and nothing to write to but two folders and /tmp.
CONTAINED = """
set -e
mount --make-rprivate /
for folder in "$1" "$2"; do mount --bind "$folder" "$folder"; done
mount -t tmpfs tmpfs "$3"
mount -o remount,bind,ro /
cd /
export TMPDIR="$3"
shift 3
exec setpriv --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
"""


def instructions(word: str) -> list[str]:
    """What follows the instructions of a kind in the Dockerfile, each in one line."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    return re.findall(rf"(?m)^{word} (.*)$", text)


def copied() -> list[str]:
    """The paths of the checkout that go into the image."""
    return [path for line in instructions("COPY") if "--from" not in line for path in line.split()[:-1]]


def parses(words: list[str]) -> None:
    verb, *arguments = words
    archiver.commands[verb].make_context(verb, arguments)


def contained(*line: str | Path, config: Path, data: Path, scratch: Path) -> subprocess.Popen[str]:
    """The program with this command line, as an image runs it."""
    missing = [name for name in ("unshare", "setpriv") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip("a container's namespaces need root, unshare and setpriv")
    program = [sys.executable, "-m", "pipelines", *map(str, line)]
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAINED, "sh"]
    return subprocess.Popen(
        [*apart, *map(str, (config, data, scratch)), *program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    found = {name: tmp_path / name for name in ("config", "data", "scratch")}
    for folder in found.values():
        folder.mkdir()
    return found


def test_a_run_needs_no_other_place_to_write_to(dovecot: Dovecot, mail_user: str, folders: dict[str, Path]) -> None:
    for number in range(20):
        dovecot.append(mail_user, "INBOX", b"Message-ID: <%d@x>\r\n\r\n%d\r\n" % (number, number))
    account_file(folders["config"], dovecot, mail_user, archive__path=str(folders["data"] / "{account}"))
    probe = contained("--version", **folders)
    run = contained("run", folders["config"], **folders)

    assert probe.communicate(timeout=PATIENCE)[0].startswith("archiver ")
    said, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, said
    assert "20 on server = 20 stored" in said
    assert sorted(path.name for path in folders["config"].glob("*.archive")) == [f"{mail_user}.archive"]
    assert len(list((folders["data"] / mail_user / "Maildir" / "cur").iterdir())) == 20


def test_a_signal_to_process_1_ends_the_run(scripted: Any, folders: dict[str, Path]) -> None:
    server: ScriptedServer = scripted(silent=True)
    account_file(folders["config"], server, "u1", archive__path=str(folders["data"] / "{account}"))
    run = contained("run", folders["config"], **folders)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    wait(lambda: server.connections > 0, "the server was asked")

    os.kill(int(children.read_text().split()[0]), signal.SIGTERM)
    said, _ = run.communicate(timeout=PATIENCE)

    assert "u1: stopped by signal 15; run again to resume" in said
    assert run.returncode == 128 + signal.SIGTERM


def test_what_goes_into_the_image_makes_the_package(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for path in copied():
        there = checkout / path
        there.parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT / path).is_dir():
            shutil.copytree(PROJECT / path, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / path, there)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=checkout,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )

    ignored = (EXAMPLES / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert [name.name for name in tmp_path.glob("*.whl")] != []
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())


def test_the_image_runs_the_program_itself_as_a_user_without_rights() -> None:
    (entry,) = instructions("ENTRYPOINT")
    (command,) = instructions("CMD")
    (user,) = instructions("USER")
    bases = [line.split()[0] for line in instructions("FROM")]

    assert entry == '["archiver"]'
    parses(shlex.split(command.strip("[]").replace(",", " ")))
    assert f"VOLUME {instructions('VOLUME')[0]}" == 'VOLUME ["/config", "/data"]'
    assert set(bases) == {"${PYTHON}"}
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert not re.search(r"pip(3)? install|apt-get", last)
    user, group = map(int, user.split(":"))
    assert {each["user"] for each in COMPOSE["services"].values() if "user" in each} == {f"{user}:{group}"}
    context = POD["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (user, group, group)


def test_the_services_of_compose_have_no_more_rights_than_they_need() -> None:
    services = COMPOSE["services"]
    for name in ("archiver", "worker", "luigid"):
        service = services[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [each.partition(":")[0] for each in service["tmpfs"]] == ["/tmp"]
    for name in ("archiver", "worker"):
        parses(services[name]["command"])
    assert (EXAMPLES / services["archiver"]["build"]["context"]).resolve() == PROJECT
    assert (PROJECT / services["archiver"]["build"]["dockerfile"]).samefile(EXAMPLES / "Dockerfile")
    assert all(port.startswith("127.0.0.1:") for each in services.values() for port in each.get("ports", ()))
    assert COMPOSE["networks"]["ledger"] == {"internal": True}
    assert "PASSWORD" not in services["postgres"]["environment"].get("POSTGRES_PASSWORD", "")
    assert all("profiles" in each for each in services.values())


def test_the_cron_job_has_no_more_rights_than_it_needs() -> None:
    (container,) = POD["containers"]
    parses(container["args"])
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert JOB["spec"]["concurrencyPolicy"] == "Forbid"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"accounts": "/config", "data": "/data", "tmp": "/tmp"}
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    secret = container["envFrom"][0]["secretRef"]["name"]
    assert f"kubectl create secret generic {secret} " in CRONJOB
    assert f"kubectl create configmap {volumes['accounts']['configMap']['name']} " in CRONJOB
    rules = JOB["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert all(set(rule["onExitCodes"]["values"]) <= set(EXIT_CODES) - {75} for rule in rules)


def test_the_account_files_of_the_cron_job_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.removeprefix("#").removeprefix("     ") for line in CRONJOB.split("apiVersion")[0].splitlines()]
    text = "\n".join(lines).partition("\n[source]\n")
    defaults = f"{text[1]}{text[2]}"
    (tmp_path / "defaults.toml").write_text(defaults, encoding="utf-8")
    (tmp_path / "alice.toml").write_text('[source]\nuser = "alice@example.org"\n', encoding="utf-8")
    account = load_account(tmp_path / "alice.toml")
    assert tomllib.loads(defaults)["archive"]["must_exist"] is True
    assert (account.archive.path, account.archive.must_exist, account.warnings) == (Path("/data/alice"), True, ())
    assert account.source.password is not None
