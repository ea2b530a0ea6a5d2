"""Completion for fish 3.1 or later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipelines.cli.manual.values import Value
from pipelines.cli.manual.verbs import Option, Verb

_SCRIPT = """\
# Completes the command lines of archiver in fish. It is made from the program's own help.

function __archiver_verb # VERB
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end

function __archiver_no_verb
    test (count (commandline -opc)) -eq 1
end

function __archiver_accounts
    __fish_complete_path (commandline -ct) | string match -r '^.*(?:/|\\.toml)(?:\\t.*)?$'
end

function __archiver_names # the accounts of the files and folders on the line
    for word in (commandline -op)[3..-1]
        set -l path (string replace -r '^~' $HOME -- $word | string trim -r -c /)
        for file in $path $path/*.toml $path/*/*.toml
            string match -qr '\\.toml$' -- $file; or continue
            string match -qr '(^|/)defaults\\.toml$' -- $file; and continue
            string replace -r '^(.*/)?(.*)\\.toml$' '$2' -- $file
        end
    end
end

complete -c archiver -f
complete -c archiver -n 'string match -q "~*" -- (commandline -ct)' -F
"""


def script(verbs: Sequence[Verb], options: Iterable[Option]) -> str:
    """The file that a shell reads."""
    return _SCRIPT + "".join(f"{line}\n" for line in (*_program(verbs, options), *_all(verbs)))


def _program(verbs: Iterable[Verb], options: Iterable[Option]) -> Iterator[str]:
    for verb in verbs:
        yield f"complete -c archiver -n __archiver_no_verb -a {verb.name} -d {_quoted(verb.line)}"
    for option in options:
        yield f"complete -c archiver -n __archiver_no_verb {_option(option)}"


def _all(verbs: Iterable[Verb]) -> Iterator[str]:
    for verb in verbs:
        here = f"complete -c archiver -n '__archiver_verb {verb.name}'"
        yield from (f"{here} {_option(option)}" for option in verb.options)
        # NOTE: fish does not say which argument of a verb a word is, so each of them is offered.
        for action in dict.fromkeys(_action(argument.value) for argument in verb.completed):
            if action:
                yield f"{here} {action}"


def _option(option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    value = "" if option.is_flag else f" -r {_action(option.value) or '-f'}"
    return f"{names}{value} -d {_quoted(option.help)}"


def _action(value: Value) -> str:
    words = " ".join(value.words)
    match value.kind:
        case "words":
            return f"-f -a '{words}'"
        case "files":
            return "-F"
        case "folders":
            return "-f -a '(__fish_complete_directories (commandline -ct))'"
        case "text":
            return ""
    return f"-f -a '(__archiver_{value.kind}){' ' * bool(words)}{words}'"


def _quoted(words: str) -> str:
    return "'" + words.replace("\\", "\\\\").replace("'", "\\'") + "'"
