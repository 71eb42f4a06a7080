"""commonfate completion SHELL: a script to be read by the shell.

For bash: source <(commonfate completion bash). For zsh: source <(commonfate completion zsh). Recipes and fields are
those of this version.
"""

from argparse import ArgumentParser, Namespace

from cluster.completion import ZSH, bash_script
from cluster.console import commands


def options(parser: ArgumentParser) -> None:
    """Whose script."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell that is to read it")


def run(given: Namespace) -> int:
    """Print the script."""
    print((ZSH if given.shell == "zsh" else "") + bash_script(commands()), end="")
    return 0
