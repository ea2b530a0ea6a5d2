"""Completion in real shells, by the files that the package installs: verbs, options, values, files and accounts.

The program is not started for it: bash and zsh complete the lines with an empty PATH.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipelines.cli.main import VERBS, archiver
from pipelines.cli.manual.files import COMPLETION, completion_of
from pipelines.cli.manual.verbs import verbs_of
from tests.patience import PATIENCE

#: What is typed, and how the line goes on when TAB is pressed.
LINES = {
    "archiver res": "archiver restore ",
    "archiver --ver": "archiver --version ",
    "archiver run --onl": "archiver run --only ",
    "archiver run conf": "archiver run configs/",
    "archiver run configs/al": "archiver run configs/alice.toml ",
    "archiver run configs/no": "archiver run configs/no",  # notes.txt is no account file
    "archiver run configs/alice.toml configs/wa": "archiver run configs/alice.toml configs/wave\\ 1/",
    "archiver run configs --only da": "archiver run configs --only dave ",
    "archiver run configs --only a --except ca": "archiver run configs --only a --except carol ",
    "archiver run configs --only=da": "archiver run configs --only=dave ",
    "archiver export configs/alice.toml there --to mb": "archiver export configs/alice.toml there --to mbox ",
    "archiver restore configs/alice.toml --to dest": "archiver restore configs/alice.toml --to destination ",
    "archiver import configs/alice.toml configs/no": "archiver import configs/alice.toml configs/notes.txt ",
    "archiver mark configs/alice.toml froz": "archiver mark configs/alice.toml frozen ",
    "archiver init new.toml --tls star": "archiver init new.toml --tls starttls ",
    "archiver run configs --log-file configs/no": "archiver run configs --log-file configs/notes.txt ",
    "archiver search configs --text show --has ": "archiver search configs --text show --has attachment ",
}
# A key that shows the line as it is: after TAB, what has become of it.
START = {
    "bash": """bind 'set bell-style none'; bind -x '"\\C-t": printf "<<%s>>" "$READLINE_LINE"'; source {file}""",
    "zsh": (
        "fpath=({folder} $fpath); autoload -U compinit; compinit -u -D; unsetopt beep list_ambiguous auto_list;"
        ' shown() {{ print -rn -- "<<$BUFFER>>" }}; zle -N shown; bindkey "^T" shown'
    ),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("alice", "bob", "defaults", "wave 1/carol", "w2/dave"):
        file = tmp_path / "configs" / f"{name}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "configs" / "notes.txt").touch()
    for shell, path in COMPLETION.items():
        script = tmp_path / path
        script.parent.mkdir(parents=True)
        script.write_text(completion_of(archiver, shell), encoding="utf-8")
    return tmp_path


def program(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        message = f"{shell}: not installed (.ci/install-servers installs it)"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return found


class Typing:
    """A shell on a terminal of its own."""

    def __init__(self, shell: str, place: Path) -> None:
        self.shell = shell
        self.master, terminal = pty.openpty()
        options = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[shell]
        environment = {"PATH": "", "HOME": str(place), "TERM": "dumb", "PS1": "$ ", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            [program(shell), *options, "-i"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=place,
            env=environment,
            start_new_session=True,
        )
        os.close(terminal)
        script = place / COMPLETION[shell]
        self.type(START[shell].format(file=script, folder=script.parent) + "; echo REA''DY\n", "READY")

    def type(self, keys: str, until: str) -> str:
        """What the shell has written when `until` has come."""
        os.write(self.master, keys.encode())
        end, seen = time.monotonic() + PATIENCE, ""
        while re.search(until, seen) is None:
            assert time.monotonic() < end, seen
            if select.select([self.master], [], [], 1)[0]:
                seen += os.read(self.master, 65536).decode(errors="replace")
        return seen

    def completed(self, line: str) -> str:
        seen = self.type(f"{line}\t\x14", r"<<.*>>")
        self.type("\x15\x03\necho D''ONE\n", "DONE")
        return re.findall(r"<<(.*)>>", seen.replace("\r\n", ""))[-1]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture(params=["bash", "zsh"])
def typing(request: pytest.FixtureRequest, place: Path) -> Iterator[Typing]:
    shell = Typing(request.param, place)
    yield shell
    shell.end()


def test_a_line_goes_on(typing: Typing) -> None:
    there = LINES | ({"archiver run --onl": "archiver run --only="} if typing.shell == "zsh" else {})
    assert {line: typing.completed(line) for line in LINES} == there


def test_a_line_goes_on_in_fish(place: Path) -> None:
    asked = "; ".join(f"echo '<<{line}'; complete -C '{line}'" for line in LINES)
    done = subprocess.run(
        [program("fish"), "--no-config", "-c", f"source {place / COMPLETION['fish']}; {asked}"],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    offered: Mapping[str, list[str]] = {
        line: [each.split("\t")[0] for each in rest.splitlines()]
        for line, _, rest in (block.partition("\n") for block in done.stdout.split("<<")[1:])
    }
    last = {line: [goes_on.removeprefix(line.rpartition(" ")[0] + " ").strip()] for line, goes_on in LINES.items()}
    last["archiver run configs/no"] = []
    last["archiver run configs/alice.toml configs/wa"] = ["configs/wave 1/"]
    assert offered == last


@pytest.mark.parametrize("shell", COMPLETION)
def test_every_verb_and_option_is_in_the_file(shell: str) -> None:
    text = completion_of(archiver, shell)
    for verb in verbs_of(archiver):
        (here,) = {
            "bash": re.findall(rf"(?m)^ +{verb.name}\) _archiver_words (.*) ;;$", text),
            "zsh": re.findall(rf"(?ms)^        {verb.name}\)\n(.*?) ;;$", text),
            "fish": ["\n".join(re.findall(rf"(?m)^complete .*'__archiver_verb {verb.name}' (.*)$", text))],
        }[shell]
        names = [name for option in verb.options for name in option.names if name.startswith("--")]
        assert [name for name in names if not re.search(rf"(--|-l ){name[2:]}\b", here)] == [], verb.name
    assert re.findall(r"\brun\b", text)
    assert len(VERBS) == len(verbs_of(archiver))


@pytest.mark.parametrize("shell", COMPLETION)
def test_the_program_prints_the_file_for_a_shell_that_does_not_find_it(shell: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("archiver")],
        env={**os.environ, "_ARCHIVER_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, completion_of(archiver, shell))
