"""Help of a command line: every option shows its default; wrong words are one line."""

import argparse
from typing import NoReturn, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class OneLineParser(argparse.ArgumentParser):
    """Reports wrong arguments in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """End the process with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class DefaultsInHelp(argparse.HelpFormatter):
    """Adds the default to the help of each option, unless its text names the default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        is_plain = action.required or not action.option_strings
        if is_plain or "default" in text or action.default is argparse.SUPPRESS:
            return text
        default = "%(default)s"
        if action.default is None or action.default == []:
            default = "none"
        elif action.default is False:
            default = "off"
        elif isinstance(action.default, list):  # as it is written on the command line
            default = " ".join(map(str, action.default))
        return f"{text} (default: {default})".strip()


def add_command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command; `text` says what it does, without a capital letter and a full stop."""
    return commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=DefaultsInHelp,
    )
