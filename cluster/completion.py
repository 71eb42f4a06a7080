"""A script by which a shell completes the words of `commonfate`: commands, options, recipes and fields."""

from argparse import SUPPRESS
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
    beginnings = {name.rsplit(" ", 1)[0] for name in commands if " " in name}
    names = sorted(beginnings | commands.keys(), key=lambda name: (-len(name), name))
    return [_case(name, commands) for name in names] + [
        f"    *) words={_quoted(_next_words('', commands))} ;;"
    ]


def _case(name: str, commands: Mapping[str, Command]) -> str:
    words, options, kind = _next_words(name, commands), ["--help"], ""
    if name in commands:
        shown = [action for action in commands[name].parser()._actions if action.help != SUPPRESS]
        options = [text for action in shown for text in action.option_strings if text.startswith("--")]
        words += [str(word) for action in shown if not action.option_strings for word in action.choices or ()]
        if any(action.dest == "overrides" for action in shown):
            kind = "cluster" if name.startswith("cluster ") else "run"
    return f'    "{name} "*) words={_quoted(words)} options={_quoted(options)} kind={kind} ;;'


def _next_words(name: str, commands: Mapping[str, Command]) -> list[str]:
    """The words that may come next in the name of a command that begins with `name`."""
    begun = name.split()
    names = [command.split() for command in commands]
    return list(
        dict.fromkeys(n[len(begun)] for n in names if len(n) > len(begun) and n[: len(begun)] == begun)
    )


def _fields(recipe: str, cls: type[RunConfig]) -> list[str]:
    return [f"{field.path}=" for field in listed_fields(resolve(recipe, cls=cls)) if field.word]


def _quoted(words: Iterable[str]) -> str:
    return f'"{" ".join(words)}"'
