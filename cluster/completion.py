"""A script by which a shell completes the words of `commonfate`: commands, options, recipes and fields."""

from argparse import PARSER, SUPPRESS, ArgumentParser
from collections.abc import Iterable, Mapping

from cluster.config import ClusterConfig
from data_shards.commands import Command
from trainer.config import RunConfig
from trainer.fields import listed_fields
from trainer.overrides import resolve
from trainer.recipes import RECIPES

# A shell may cut field.path=value at its equals sign; only what stands before is completed. Without a match the shell
# completes names of files.
SCRIPT = r"""# source <(commonfate completion bash)
_commonfate_fields() {
    case "$1" in
%(fields)s
    esac
}
_commonfate() {
    local current=${COMP_WORDS[COMP_CWORD]} options=--help words= kind= word
    local before="${COMP_WORDS[*]:1:COMP_CWORD-1} "
    case "$before" in
%(commands)s
    esac
    if [[ -n $kind ]]; then
        words="$words %(recipes)s"
        for word in $before; do
            case " %(recipes)s " in *" $word "*) words=$(_commonfate_fields "$kind $word"); break ;; esac
        done
    fi
    [[ $current == -* ]] && words=$options
    [[ $current == = || ${COMP_WORDS[COMP_CWORD-1]} == = ]] && words=
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [[ ${COMPREPLY[0]-} == *= ]] && type compopt &> /dev/null && compopt -o nospace
}
complete -o default -F _commonfate commonfate
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def bash_script(commands: Mapping[str, Command]) -> str:
    """For bash 3.2 or later, and for zsh after ZSH."""
    kinds: dict[str, type[RunConfig]] = {"run": RunConfig, "cluster": ClusterConfig}
    fields = [
        f'    "{kind} {recipe}") echo {_quoted(_fields(recipe, cls))} ;;'
        for kind, cls in kinds.items()
        for recipe in RECIPES
    ]
    return SCRIPT % {
        "fields": "\n".join(fields),
        "commands": "\n".join(_cases(commands)),
        "recipes": " ".join(RECIPES),
    }


def _cases(commands: Mapping[str, Command]) -> list[str]:
    """What may follow the name of each command and the beginning of one, the longest first, in bash's words."""
    parsers: dict[str, ArgumentParser] = {}
    for name, command in commands.items():
        parsers |= _parsers(name, command.parser())
    beginnings = {name.rsplit(" ", 1)[0] for name in parsers if " " in name}
    names = sorted(beginnings | parsers.keys(), key=lambda name: (-len(name), name))
    first = _quoted(_next_words("", parsers))
    return [_case(name, parsers) for name in names] + [f"    *) words={first} ;;"]


def _parsers(name: str, parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """A command's parser, and those that it chooses from by a further word."""
    found = {name: parser}
    for action in parser._actions:
        if action.nargs == PARSER and isinstance(action.choices, dict):
            for word, chosen in action.choices.items():
                found |= _parsers(f"{name} {word}", chosen)
    return found


def _case(name: str, parsers: Mapping[str, ArgumentParser]) -> str:
    words, options, kind = _next_words(name, parsers), ["--help"], ""
    if name in parsers:
        shown = [action for action in parsers[name]._actions if action.help != SUPPRESS]
        options = [text for action in shown for text in action.option_strings if text.startswith("--")]
        chosen = [
            action.choices or () for action in shown if not action.option_strings and action.nargs != PARSER
        ]
        words += [str(word) for choices in chosen for word in choices]
        if any(action.dest == "overrides" for action in shown):
            kind = "cluster" if name.startswith("cluster ") else "run"
    return f'    "{name} "*) words={_quoted(words)} options={_quoted(options)} kind={kind} ;;'


def _next_words(beginning: str, names: Iterable[str]) -> list[str]:
    """The words that may come next in one of the names, once each."""
    begun = beginning.split()
    split = [name.split() for name in names]
    going_on = [words for words in split if len(words) > len(begun) and words[: len(begun)] == begun]
    return list(dict.fromkeys(words[len(begun)] for words in going_on))


def _fields(recipe: str, cls: type[RunConfig]) -> list[str]:
    return [f"{field.path}=" for field in listed_fields(resolve(recipe, cls=cls)) if field.word]


def _quoted(words: Iterable[str]) -> str:
    return f'"{" ".join(words)}"'
