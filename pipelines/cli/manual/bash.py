"""Completion for bash 4.4 or later, with the package bash-completion or without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipelines.cli.manual.values import Value
from pipelines.cli.manual.verbs import Option, Verb

# NOTE: bash takes "=" for a separate word. Quotes around a word are left to readline: it completes paths itself
# where these functions find nothing.
_SCRIPT = """\
# Completes the command lines of archiver in bash. It is made from the program's own help.

_archiver_words() { # WORD...
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
}

_archiver_files() {
    compopt -o filenames -o default
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_archiver_folders() {
    compopt -o filenames -o dirnames
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
}

_archiver_accounts() { # WORD...
    compopt -o filenames
    [[ $cur == [\\"\\']* ]] && compopt -o default
    mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -f -X '!*.toml' -- "$cur"; compgen -W "$*" -- "$cur")
}

_archiver_names() { # the accounts of the files and folders on the line
    local IFS=$'\\n'
    mapfile -t COMPREPLY < <(
        compgen -W "$(
            shopt -s nullglob
            for path in "${given[@]/#\\~/$HOME}"; do
                for file in "$path" "${path%/}"/*.toml "${path%/}"/*/*.toml; do
                    name=${file##*/}
                    [[ $name == *.toml && $name != defaults.toml ]] && printf '%q\\n' "${name%.toml}"
                done
            done
        )" -- "$cur"
    )
}

_archiver() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb= number=0 after= ended= word i
    local -a given=()
    COMPREPLY=()
    if [[ $cur == "=" ]]; then
        cur=
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < ${#COMP_WORDS[@]}; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == "=" || $i == "$COMP_CWORD" ]]; then
            continue
        elif [[ $after ]]; then
            after=
        elif [[ $word == "--" ]]; then
            ended=yes
        elif [[ $word == -* && ! $ended ]]; then
            case "$verb $word" in
@TAKING@
                    after=yes ;;
            esac
        elif [[ ! $verb ]]; then
            verb=$word
        else
            given+=("$word")
            ((i < COMP_CWORD)) && number=$((number + 1))
        fi
    done
    if [[ ! $verb ]]; then
        _archiver_words @VERBS@ @OPTIONS@
        return
    fi
    [[ $ended ]] || case "$verb $prev" in
@VALUES@
    esac
    if [[ $cur == -* && ! $ended ]]; then
        case $verb in
@NAMES@
        esac
        return
    fi
    case "$verb $number" in
@ARGUMENTS@
    esac
}

complete -F _archiver archiver
"""


def script(verbs: Sequence[Verb], options: Iterable[Option]) -> str:
    """The file that a shell reads."""
    return (
        _SCRIPT.replace("@VERBS@", " ".join(verb.name for verb in verbs))
        .replace("@OPTIONS@", " ".join(_names(options)))
        .replace("@TAKING@", _pattern(verbs))
        .replace("@VALUES@", "\n".join(line for verb in verbs for line in _values(verb)))
        .replace("@NAMES@", "\n".join(_case(verb.name, f"_archiver_words {_all(verb)}") for verb in verbs))
        .replace("@ARGUMENTS@", "\n".join(line for verb in verbs for line in _arguments(verb)))
    )


def _pattern(verbs: Iterable[Verb]) -> str:
    """The options whose value is the next word."""
    lines = (" | ".join(_of(verb, option) for option in verb.options if not option.is_flag) for verb in verbs)
    return " | \\\n".join(f"{' ' * 16}{line}" for line in lines if line) + ")"


def _values(verb: Verb) -> Iterator[str]:
    for option in verb.options:
        if not option.is_flag:
            yield f"        {_of(verb, option)}) {_action(option.value)}return ;;"


def _of(verb: Verb, option: Option) -> str:
    return " | ".join(f'"{verb.name} {name}"' for name in option.names)


def _arguments(verb: Verb) -> Iterator[str]:
    for number, argument in enumerate(verb.completed):
        pattern = f'"{verb.name} "*' if "..." in argument.metavar else f'"{verb.name} {number}"'
        yield f"        {pattern}) {_action(argument.value)}return ;;"


def _action(value: Value) -> str:
    return "" if value.kind == "text" else " ".join((f"_archiver_{value.kind}", *value.words)) + "; "


def _case(pattern: str, command: str) -> str:
    return f"            {pattern}) {command} ;;"


def _all(verb: Verb) -> str:
    return " ".join(_names(verb.options))


def _names(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        yield from option.names
