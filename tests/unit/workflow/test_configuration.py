import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from semimoe.methods import METHODS
from semimoe.settings import NetworkSettings, TrainingSettings
from workflow.config.checks import ConfigurationError, read_configuration
from workflow.config.documentation import leaves, markdown, schema_text
from workflow.config.method_settings import method_settings

REPO = Path(__file__).parents[3]


def problems(values: dict) -> list[str]:
    """The problems of a configuration; none if it can be used."""
    try:
        read_configuration(values)
    except ConfigurationError as error:
        return error.problems
    return []


@pytest.fixture
def model(tmp_path: Path, card: dict) -> Callable[..., Path]:
    """Folder of a model whose card differs in some entries."""

    def write(**changes: object) -> Path:
        (tmp_path / "model.safetensors").touch()
        (tmp_path / "model.json").write_text(json.dumps(card | changes))
        return tmp_path

    return write


def test_shipped_configurations_are_sound() -> None:
    for name in ("config.yaml", "workflow/demo.yaml"):
        assert problems(yaml.safe_load((REPO / name).read_text())) == []


def test_config_yaml_states_the_defaults_of_the_schema() -> None:
    values = yaml.safe_load((REPO / "config.yaml").read_text())
    assert read_configuration(values) == read_configuration({})


def test_a_misspelt_key_is_named_with_a_hint() -> None:
    assert problems({"tiles": {"mpp": 1.0}}) == [
        "config tiles: unknown key mpp (did you mean mpp_um?)"
    ]


def test_texts_from_the_command_line_become_numbers() -> None:
    values = {
        "glands": {"threshold": "0.7", "growth_um": "null"},
        "export": {"color": ["1", "2", "3"], "compress": "true"},
    }
    assert problems(values) == []
    configuration = read_configuration(values)
    assert configuration.glands.threshold == 0.7
    assert configuration.glands.growth_um is None
    assert configuration.export.color == [1, 2, 3]
    assert configuration.export.compress is True


def test_values_out_of_range_are_listed_together() -> None:
    found = problems({"tiles": {"tile_px": 100}, "training": {"lr": -1}})
    assert len(found) == 2
    assert "tiles.tile_px" in found[0]


def test_overlap_must_be_less_than_the_tile() -> None:
    assert "tiles.overlap_px" in problems({"tiles": {"tile_px": 64, "overlap_px": 64}})[0]


def test_a_model_folder_without_a_model_is_a_problem(tmp_path: Path) -> None:
    assert len(problems({"model": str(tmp_path)})) == 1


def test_documentation_is_made_from_the_types() -> None:
    assert (REPO / "docs" / "configuration.md").read_text() == markdown()
    assert (REPO / "docs" / "configuration.schema.json").read_text() == schema_text()


def test_every_key_has_default_and_description() -> None:
    keys = dict(leaves())
    assert len(keys) > 60
    assert all("default" in key and key["description"] for key in keys.values())


def test_the_schema_gives_the_bounds_of_every_number() -> None:
    keys = dict(leaves())
    assert keys["training.lr"]["exclusiveMinimum"] == 0
    assert keys["tiles.mpp_um"]["anyOf"][0] == {"minimum": 0.05, "maximum": 20, "type": "number"}


def numbers() -> list[str]:
    """Keys whose values are numbers."""
    kinds = {"number", "integer"}
    return [
        name
        for name, key in leaves()
        if any(kind.get("type") in kinds for kind in (key, *key.get("anyOf", ())))
    ]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e400", "1e300", str(10**30), -1e30])
def test_no_number_may_be_infinite_or_absurd(value: object) -> None:
    assert len(numbers()) > 40
    for name in numbers():
        *groups, key = name.split(".")
        values: dict = {key: value if isinstance(value, float) else yaml.safe_load(str(value))}
        text: dict = {key: str(value)}  # as `--config` gives it
        for group in reversed(groups):
            values, text = {group: values}, {group: text}
        for given in (values, text):
            (problem,) = problems(given)
            assert problem.startswith(f"config {name}: "), problem


def test_a_runtime_that_is_not_installed_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (problem,) = problems({"prediction": {"runtime": "openvino"}})
    assert problem.startswith("config prediction.runtime: the package openvino is not installed")
    assert problems({"prediction": {"runtime": "torch"}}) == []


def test_a_compared_method_whose_package_is_not_installed_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    (problem,) = problems({"compare": ["unet", "cross-teaching"]})
    assert problem.startswith("config compare: the method cross-teaching needs the package monai")
    assert problems({"compare": ["unet"]}) == []


@pytest.mark.parametrize("group", ["prediction", "training"])
def test_tiles_that_no_memory_can_hold_at_once_are_refused(group: str) -> None:
    (problem,) = problems({group: {"batch": 1024}, "tiles": {"tile_px": 2048}})
    assert f"config {group}.batch: 1024 tiles of 2048 x 2048 pixels" in problem
    assert problems({group: {"batch": 1024}}) == []


@pytest.mark.parametrize("key", ["slides", "results", "model", "start_from"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a{slide}", "contains"), ("<results>/x", "contains '<results>'"),
        ("http://x/y", "the address of a server"), ("~nobody-of-this-name", "not the home folder"),
        ("x" * 256, "more than 255 bytes"), ("a\nb", "control character U+000A"),
        ("x\ud800", ""), (2024, "is a number, not a path"), (True, "is a number, not a path"),
    ],
)  # fmt: skip
def test_paths_that_snakemake_would_change_are_refused(
    key: str, path: object, message: str
) -> None:
    assert any(
        problem.startswith(f"config {key}: ") and message in problem
        for problem in problems({key: path})
    )


def test_results_may_have_no_brace_and_need_a_folder_that_can_be_made(tmp_path: Path) -> None:
    assert "contains a brace" in problems({"results": "a{b-c}"})[0]
    (tmp_path / "file").touch()
    assert "is a file; give a folder" in problems({"results": str(tmp_path / "file" / "x")})[0]
    assert problems({"results": str(tmp_path / "new" / "x")}) == []


def test_a_dotted_key_in_a_file_is_refused_with_its_place() -> None:
    (problem,) = problems({"tiles.mpp_um": 1})
    assert problem == (
        "config file: unknown key tiles.mpp_um; in a file, mpp_um belongs inside tiles:"
        " `tiles: {mpp_um: VALUE}`"
    )


def test_defaults_stand_in_one_place() -> None:
    configuration = read_configuration({})
    settings = method_settings(configuration, "semimoe")
    assert settings.network == NetworkSettings()
    assert settings.training_settings() == TrainingSettings()


@pytest.mark.parametrize(("group", "key"), [("network", "width"), ("training", "sdf_weight")])
def test_a_value_is_a_problem_if_and_only_if_the_settings_refuse_it(group: str, key: str) -> None:
    settings = NetworkSettings if group == "network" else TrainingSettings
    for value in (0, 4, 6, 30, 32):
        try:
            settings(**{key: value})
            valid = True
        except ValueError:
            valid = False
        assert (problems({group: {key: value}}) == []) == valid


@pytest.mark.parametrize(
    ("values", "retrained"),
    [
        ({"training": {"unsup_max": 1.0}}, {"semimoe"}),
        ({"training": {"unsup_schedule": "gaussian", "update": "two-step"}}, {"semimoe"}),
        ({"training": {"pseudo_labels": "online", "pseudo": "derived"}}, {"semimoe"}),
        (
            {"training": {"pseudo_labels": "online", "min_confidence": 0.9, "tiles_per_slide": 7}},
            {"semimoe"},
        ),
        ({"training": {"gamma": 0.5, "amol_lr": 0.1}}, {"semimoe", "supervised"}),
        ({"training": {"warm_start_epochs": 3}}, {"semimoe", "supervised"}),
        ({"training": {"lr": 0.001}}, {"semimoe", "supervised", "unet"}),
        ({"training": {"statistics": "both"}}, {"semimoe"}),
        ({"training": {"statistics": "frozen"}}, {"semimoe", "supervised", "unet"}),
        (
            {
                "network": {
                    "gate": "code",
                    "gates": "single",
                    "gate_heads": "kaiming",
                    "dropout": 0.2,
                }
            },
            {"semimoe", "supervised"},
        ),
        ({"network": {"experts": "separate"}}, {"semimoe", "supervised"}),
        ({"network": {"width": 8}}, {"semimoe", "supervised", "unet"}),
        ({"glands": {"threshold": 0.5}}, set()),
    ],
)
def test_only_settings_with_an_effect_on_a_method_retrain_it(values: dict, retrained: set) -> None:
    before, after = read_configuration({}), read_configuration(values)
    methods = ("semimoe", "supervised", "unet")
    assert {
        method
        for method in methods
        if method_settings(before, method) != method_settings(after, method)
    } == retrained


def test_ignored_settings_are_names_of_settings() -> None:
    keys = dict(leaves())
    for method in METHODS.values():
        assert all(f"network.{name}" in keys for name in method.ignored_network), method.name
        assert all(f"training.{name}" in keys for name in method.ignored_training), method.name


def test_a_unet_may_be_trained_for_fewer_epochs_than_the_default_warm_start() -> None:
    configuration = read_configuration({"training": {"epochs": 3, "warm_start_epochs": 2}})
    training = method_settings(configuration, "unet").training_settings()
    assert (training.epochs, training.warm_start_epochs) == (3, 0)


def test_a_branch_must_leave_epochs_to_run() -> None:
    (problem,) = problems({"training": {"epochs": 10}})
    assert "warm_start_epochs: 20 is not less than epochs 10" in problem
    (problem,) = problems({"training": {"epochs": 10, "warm_start_epochs": 10}})
    assert "warm_start_epochs: 10 is not less than epochs 10" in problem


def test_a_teacher_needs_a_moving_average_and_stores_no_pseudo_labels() -> None:
    teacher = {"pseudo": "teacher", "ema_decay": 0.99, "pseudo_labels": "online"}
    assert read_configuration({"training": teacher}).training.pseudo == "teacher"
    (problem,) = problems({"training": {"pseudo": "derived"}})
    assert "pseudo: derived needs pseudo_labels: online" in problem
    (problem,) = problems({"training": {"pseudo": "teacher", "pseudo_labels": "online"}})
    assert problem.startswith("config training: training.pseudo=teacher needs training.ema_decay")
    (problem,) = problems({"training": {**teacher, "batch": 1}})
    assert "batch must be at least 2" in problem
    (problem,) = problems({"training": {**teacher, "pseudo_labels": "stored"}})
    assert "teacher needs pseudo_labels: online" in problem


def test_a_model_inside_the_results_cannot_be_fine_tuned_in_place(tmp_path: Path) -> None:
    model = tmp_path / "results" / "models" / "semimoe"
    model.mkdir(parents=True)
    for name in ("model.safetensors", "model.json"):
        (model / name).write_bytes((REPO / "models" / "glas" / name).read_bytes())
    values = {"start_from": str(model), "results": str(tmp_path / "results")}
    assert "would be replaced by this run" in problems(values)[0]
    assert problems({**values, "results": str(tmp_path / "other")}) == []


@pytest.mark.parametrize("spelling", ["./out", "out/", "out//", "x/../out"])
def test_a_folder_has_one_spelling(spelling: str) -> None:
    expected = "x/../out" if ".." in spelling else "out"
    configuration = read_configuration({"results": spelling})
    assert configuration.results == expected
    assert str(configuration.model_folder) == f"{expected}/models/semimoe"


@pytest.mark.parametrize("folder", [".", "./"])
def test_results_need_a_folder_of_their_own(folder: str) -> None:
    assert "working directory itself" in problems({"results": folder})[0]


def test_the_order_in_which_keys_are_given_does_not_matter() -> None:
    one = read_configuration({"seed": 1, "results": "r", "tiles": {"overlap_px": 32, "mpp_um": 2}})
    other = read_configuration(
        {"tiles": {"mpp_um": 2, "overlap_px": 32}, "results": "r", "seed": 1}
    )
    assert str(one.to_dict()) == str(other.to_dict())


def test_a_model_of_another_resolution_is_reported_before_anything_starts(
    tmp_path: Path, card: dict
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "model.json").write_text(json.dumps(card | {"mpp_um": 2.0}))
    assert problems({"model": str(tmp_path), "tiles": {"mpp_um": 2.1}}) == []
    assert problems({"model": str(tmp_path), "tiles": {"mpp_um": 1}}) == [
        f"config tiles.mpp_um: 1, but {tmp_path} was trained at 2 um per pixel; "
        "set tiles.mpp_um to 2"
    ]
    (tmp_path / "model.json").write_text("[]")
    assert "not a model card of this program" in problems({"model": str(tmp_path)})[0]


@pytest.mark.parametrize("key", ["model", "start_from"])
def test_tiles_are_those_of_a_model_unless_they_are_configured(
    model: Callable[..., Path], key: str
) -> None:
    folder = str(model(mpp_um=1.24, tile_px=384))
    tiles = read_configuration({key: folder, "network": {"experts": "shared"}}).tiles
    assert (tiles.mpp_um, tiles.tile_px) == (1.24, 384)
    values = {"mpp_um": 1.2, "tile_px": 128}
    tiles = read_configuration({key: folder, "tiles": values}).tiles
    assert (tiles.mpp_um, tiles.tile_px) == (1.2, 128)
    tiles = read_configuration({}).tiles
    assert (tiles.mpp_um, tiles.tile_px) == (1.0, 256)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ({"mpp_um": 0, "tile_px": 256}, "mpp_um: 0; input should be greater than 0"),
        ({"mpp_um": float("nan"), "tile_px": 256}, "mpp_um: nan; input should be a finite number"),
        (
            {"mpp_um": 0.01, "tile_px": 256},
            "mpp_um: 0.01; input should be greater than or equal to 0.05",
        ),
        ({"mpp_um": 1, "tile_px": 100}, "tile_px: 100; input should be a multiple of 16"),
        ({"mpp_um": 50, "tile_px": 256}, "mpp_um: 50.0; input should be less than or equal to 20"),
    ],
)
@pytest.mark.parametrize("key", ["model", "start_from"])
def test_tiles_of_a_model_must_be_within_the_same_bounds(
    tmp_path: Path, card: dict, scale: dict, words: str, key: str
) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.json").write_text(json.dumps(card | scale))
    (problem,) = problems({key: str(tmp_path)})
    assert words in problem
    assert str(tmp_path) in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mpp_um", "x"),
        ("mpp_um", -1),
        ("mpp_um", True),
        ("tile_px", float("inf")),
        ("tile_px", 64.5),
        ("threshold", 1),
        ("sdf_um", None),
        ("network", []),
        ("split", 3),
        ("method", 1),
        ("warnings", "one"),
        ("warnings", [1]),
        ("notes", None),
        ("notes", {"licence": 3}),
        ("notes", {"warnings": {}}),
        ("notes", {"slides": [{}]}),
        ("notes", {"images": {"labelled": "a"}}),
        ("notes", {"known": 4}),
        ("notes", {"validation": [1]}),
        ("notes", {"left_out": []}),
    ],
)
def test_a_card_with_invalid_values_is_a_problem_and_no_crash(
    tmp_path: Path, card: dict, key: str, value: object
) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.json").write_text(json.dumps(card | {key: value}))
    for use in ("start_from", "model"):
        (problem,) = problems({use: str(tmp_path)})
        assert problem.startswith(f"config {use}: {tmp_path}"), problem
        assert f" {key}" in problem


def test_what_cannot_start_from_a_model_is_named_before_slides_are_tiled(tmp_path: Path) -> None:
    values = {"start_from": str(REPO / "models" / "glas")}
    assert problems(values) == []
    (problem,) = problems({**values, "network": {"width": 32}})
    assert "network.width: 32, but start_from" in problem
    assert problem.endswith("has 16; set it to that")
    (problem,) = problems({**values, "compare": ["supervised", "unet"]})
    assert "U-Net cannot start from" in problem
    card = json.loads((REPO / "models" / "glas" / "model.json").read_text())
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.json").write_text(json.dumps(card | {"method": "unet"}))
    assert "no experts and gates" in problems({"start_from": str(tmp_path)})[0]
    unet = {**values, "network": {"encoder": "unet"}}
    assert "network.encoder: unet, but start_from" in problems(unet)[0]


def test_fine_tuning_takes_the_settings_of_the_model_where_the_user_gives_none(
    tmp_path: Path,
) -> None:
    shipped = json.loads((REPO / "models" / "glas" / "model.json").read_text())
    network = shipped["network"] | {"width": 8, "experts": "separate", "sdf_um": 12}
    card = shipped | {"network": network, "sdf_um": 12, "mpp_um": 2.5, "tile_px": 128}
    card["training"] = shipped["training"] | {"augment": "scanners"}
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.json").write_text(json.dumps(card))
    # `config.yaml` of the project repeats defaults that decide which weights there are.
    repeated = {"network": {"width": 16, "experts": "shared", "encoder": "efficientnet-lite0"}}
    tuned = read_configuration({"start_from": str(tmp_path), **repeated})
    assert network.items() <= tuned.network.to_dict().items()
    assert tuned.training.augment == "scanners"
    assert (tuned.tiles.mpp_um, tuned.tiles.tile_px) == (2.5, 128)
    chosen = {"training": {"augment": "slides"}, "network": {"sdf_um": 20}}
    kept = read_configuration({"start_from": str(tmp_path), **chosen})
    assert (kept.training.augment, kept.network.sdf_um, kept.network.width) == ("slides", 20, 8)
    assert read_configuration({"model": str(tmp_path)}).training.augment == "slides"


def test_an_encoder_of_random_weights_is_not_frozen() -> None:
    assert problems({"training": {"frozen_stages": 2}}) == []
    assert (
        "frozen_stages"
        in problems({"training": {"frozen_stages": 2}, "network": {"encoder": "unet"}})[0]
    )


@pytest.mark.parametrize(
    "values",
    [
        {"seed": True},
        {"training": {"batch": True}},
        {"training": {"steps_per_epoch": True}},
        {"export": {"color": [True, 2, 3]}},
        {"export": {"label_mask": 1}},
        {1: 2},
    ],
)
def test_true_is_no_number_and_1_is_not_true(values: dict) -> None:
    assert len(problems(values)) == 1


def test_an_empty_model_on_the_command_line_is_none() -> None:
    assert read_configuration({"model": "", "start_from": ""}).model is None


def test_a_long_warm_start_does_not_hide_other_problems() -> None:
    values = {"start_from": "nope", "training": {"epochs": 5, "warm_start_epochs": 7}}
    found = problems(values)
    assert len(found) == 2
    assert any(text.startswith("config training.warm_start_epochs: 7") for text in found)
