"""What there is to say of a verb, read off its click command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence

import click
from msgspec import Struct

from pipelines.cli.manual.values import Value, value_of

Line = str


class Option(Struct, frozen=True):
    """An option: all its names, the short one first. One without a `metavar` is a flag. `default` is what the help
    says of it."""

    names: tuple[str, ...]
    help: str
    metavar: str | None
    default: str | None
    is_repeatable: bool
    value: Value

    @property
    def is_flag(self) -> bool:
        return self.metavar is None


class Argument(Struct, frozen=True):
    """A positional argument. `metavar` says by "..." that there may be several."""

    metavar: str
    help: str
    value: Value


class Verb(Struct, frozen=True):
    """A verb. `text` has paragraphs and blocks of lines in their order; examples are kept apart."""

    name: str
    line: str
    text: tuple[str | tuple[Line, ...], ...]
    examples: tuple[Line, ...]
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]

    @property
    def completed(self) -> tuple[Argument, ...]:
        """The arguments for a shell, which cannot know where several of one kind end: the words that may follow are
        offered with each of them."""
        for number, several in enumerate(self.arguments):
            if "..." in several.metavar:
                words = (word for after in self.arguments[number + 1 :] for word in after.value.words)
                value = Value(several.value.kind, (*several.value.words, *words))
                return (*self.arguments[:number], Argument(several.metavar, several.help, value))
        return self.arguments


def verbs_of(program: click.Group) -> tuple[Verb, ...]:
    """All verbs that are not hidden, in the order of the help. Their modules are imported."""
    context = _context(program)
    found = ((name, program.get_command(context, name)) for name in program.list_commands(context))
    return tuple(_verb(name, each, context) for name, each in found if each is not None and not each.hidden)


def options_of(program: click.Group) -> tuple[Option, ...]:
    """The options that the program has without a verb."""
    return _options(program, _context(program))


def _context(program: click.Group) -> click.Context:
    return click.Context(program, info_name=program.name, **program.context_settings)


def _verb(name: str, stand_in: click.Command, program: click.Context) -> Verb:
    # NOTE: `archiver` has a stand-in for each verb; its context has the verb itself.
    context = stand_in.make_context(name, [], program, resilient_parsing=True)
    command = context.command
    blocks = tuple(_blocks(command.help or ""))
    return Verb(
        name,
        stand_in.get_short_help_str(limit=200).rstrip("."),
        tuple(block for block in blocks if isinstance(block, str) or not _is_example(block)),
        tuple(each for block in blocks if not isinstance(block, str) and _is_example(block) for each in block),
        tuple(_arguments(command)),
        _options(command, context),
    )


def _blocks(text: str) -> Iterator[str | tuple[Line, ...]]:
    """The paragraphs of a help text, each in one line; what click must not fill stays lines."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if block.startswith("\b\n"):
            yield tuple(inspect.cleandoc(block[2:]).splitlines())
        else:
            yield " ".join(block.split())


def _is_example(block: Sequence[Line]) -> bool:
    return block[0].startswith("archiver ")


def _arguments(command: click.Command) -> Iterator[Argument]:
    for each in command.params:
        if isinstance(each, click.Argument):
            metavar = str(each.metavar or each.human_readable_name)
            yield Argument(metavar, _sentence(each.help), value_of(command, each))


def _options(command: click.Command, context: click.Context) -> tuple[Option, ...]:
    listed = (each for each in command.params if isinstance(each, click.Option) and not each.hidden)
    # NOTE: click keeps a command's help option under the names that the first context of this process gave it.
    names = _short_first(command.get_help_option_names(context))
    shows_help = Option(names, "Show this message and exit.", None, None, False, Value("text"))
    return (*(_option(command, each, context) for each in listed), shows_help)


def _option(command: click.Command, option: click.Option, context: click.Context) -> Option:
    return Option(
        _short_first(option.opts),
        _sentence(option.help),
        None if option.is_flag else option.make_metavar(context),
        _default(option),
        option.multiple,
        value_of(command, option),
    )


def _short_first(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: name.startswith("--")))


def _default(option: click.Option) -> str | None:
    """What is taken without the option, where the help says so."""
    if isinstance(option.show_default, str):
        return option.show_default
    return str(option.default) if option.show_default else None


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())
