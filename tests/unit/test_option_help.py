"""The command lines: every option shows its default, which is that of the workflow."""

import argparse
from collections.abc import Iterator

import pytest

import semimoe.__main__
import tiling.__main__
from semimoe.commands.training_settings import network_and_training_settings
from workflow.config.configuration import Configuration
from workflow.config.method_settings import method_settings


def options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action, str]]:
    """Name of the command, option, and its text in `--help`."""
    (commands,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    for name, command in commands.choices.items():
        for action in command._actions:
            is_choice = action.option_strings and not action.required
            if is_choice and not isinstance(action, argparse._HelpAction):
                formatter = command._get_formatter()
                formatter.add_argument(action)
                yield name, action, " ".join(formatter.format_help().split())


@pytest.mark.parametrize(
    ("parser", "fewest"), [(semimoe.__main__._parser(), 30), (tiling.__main__._parser(), 15)]
)
def test_every_option_shows_its_default(parser: argparse.ArgumentParser, fewest: int) -> None:
    texts = [(command, action.option_strings[0], text) for command, action, text in options(parser)]
    assert len(texts) >= fewest
    assert [(command, option) for command, option, text in texts if "default" not in text] == []


def test_a_shown_default_is_the_default() -> None:
    shown = {
        (command, action.option_strings[0]): text
        for command, action, text in options(semimoe.__main__._parser())
    }
    assert shown["train", "--seed"].endswith("(default: 0)")
    assert shown["train", "--lr"].endswith("default: that of the preset (without --preset: 0.002)")
    assert shown["table", "--labelled"].endswith("(default: 0.1 0.2)")
    assert shown["predict", "--flips"].endswith("(default: auto)")
    assert shown["predict", "--batch"].endswith("(default: 16)")


def test_the_command_line_has_the_defaults_of_the_workflow() -> None:
    parse = semimoe.__main__._parser().parse_args
    train = parse(["train", "--data", "x", "--out", "y"])
    network, training = network_and_training_settings(train)
    configuration = Configuration()
    of_workflow = method_settings(configuration, "unet").training_settings()
    assert training == of_workflow  # U-Net is not continued either: its warm start is 0
    assert network == configuration.network
    assert (train.method, train.seed) == ("semimoe", configuration.seed)
    for command in (["predict", "--images", "x", "--out", "y"], ["evaluate", "--truth", "x"]):
        asked = vars(parse([*command, "--model", "m"]))
        prediction = configuration.prediction.to_dict()
        for name in {"batch", "precision", "flips"} & set(asked):
            assert asked[name] == prediction[name], name
