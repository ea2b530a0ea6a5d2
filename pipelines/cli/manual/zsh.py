"""Completion for zsh: a function that compinit finds on fpath, or that defines itself when it is sourced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipelines.cli.manual.values import Value
from pipelines.cli.manual.verbs import Argument, Option, Verb

_SCRIPT = """\
#compdef archiver
# Completes the command lines of archiver in zsh. It is made from the program's own help.

_archiver_accounts() { # WORD...
    local -a also=("$@")
    (( $#also )) && compadd -a also
    _path_files -g '*.toml(-.)'
    _path_files -/
}

_archiver_names() { # the accounts of the files and folders on the line
    local word
    local -a names
    for word in ${words[2,-1]}; do
        [[ $word == -* ]] && continue
        names+=(${~${(Q)word}}(N-.:t) ${~${(Q)word}}/*.toml(N-.:t) ${~${(Q)word}}/*/*.toml(N-.:t))
    done
    names=(${${(M)${(u)names}:#*.toml}:#defaults.toml})
    names=(${names%.toml})
    compadd -a names
}

_archiver_verbs() {
    local -a verbs=(
@VERBS@
    )
    _describe -t commands command verbs
}

_archiver() {
    local curcontext=$curcontext state line
    typeset -A opt_args
    _arguments -C -S \\
@OPTIONS@
        '1: :_archiver_verbs' \\
        '*:: :->verb' && return
    case $words[1] in
@CASES@
    esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _archiver "$@"
else
    compdef _archiver archiver
fi
"""


def script(verbs: Sequence[Verb], options: Iterable[Option]) -> str:
    """The file that a shell reads."""
    lines = (f"        {_quoted(f'{verb.name}:{verb.line}')}" for verb in verbs)
    return (
        _SCRIPT.replace("@VERBS@", "\n".join(lines))
        .replace("@OPTIONS@", "\n".join(f"        {each} \\" for option in options for each in _option(option)))
        .replace("@CASES@", "\n".join(line for verb in verbs for line in _case(verb)))
    )


def _case(verb: Verb) -> Iterator[str]:
    yield f"        {verb.name})"
    specs = [each for option in verb.options for each in _option(option)]
    specs += [_argument(number, each) for number, each in enumerate(verb.completed, start=1)]
    yield "            _arguments -S \\"
    yield from (f"                {spec} \\" for spec in specs[:-1])
    yield f"                {specs[-1]} ;;"


def _option(option: Option) -> Iterator[str]:
    value = "" if option.metavar is None else f":{_plain(option.metavar)}:{_action(option.value)}"
    once = "*" if option.is_repeatable else f"({' '.join(option.names)})"
    for name in option.names:
        may_be_joined = "=" * (name.startswith("--") and not option.is_flag)
        yield _quoted(f"{once}{name}{may_be_joined}[{_plain(option.help)}]{value}")


def _argument(number: int, argument: Argument) -> str:
    where = "*" if "..." in argument.metavar else str(number)
    return _quoted(f"{where}:{_plain(argument.metavar.strip('[].'))}:{_action(argument.value)}")


def _action(value: Value) -> str:
    words = " ".join(value.words)
    match value.kind:
        case "words":
            return f"({words})"
        case "files":
            return "_files"
        case "folders":
            return "_files -/"
        case "text":
            return " "
    return f"_archiver_{value.kind} {words}".rstrip()


def _plain(words: str) -> str:
    """Characters that end a description are escaped."""
    return "".join(f"\\{each}" if each in "[]:\\" else each for each in words)


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "'\\''") + "'"
