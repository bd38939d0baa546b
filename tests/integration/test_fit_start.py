"""Training runs that start from another model, stop with an error, or are killed and resume."""

import csv
import json
import shutil

import pytest
import torch
from short_runs import (
    FILES,
    ONE_STEP,
    SHORT_TRAINING,
    dice_on,
    read_files,
    read_history,
    train,
)

from semimoe.model_card import ChoiceWithFlips, load_card, save_card
from semimoe.model_errors import TrainingError
from semimoe.networks.experts import make_encoder
from semimoe.networks.pretrained import load_pretrained
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.tensor_files import load_tensors

pytestmark = pytest.mark.xdist_group("trained_models")


def test_supervised_and_semimoe_have_the_same_steps_and_learning_rate(trained_models) -> None:
    supervised, semimoe = (
        read_history(trained_models["supervised"]),
        read_history(trained_models["semimoe"]),
    )
    assert [row["epoch"] for row in supervised] == ["1", "2", "3"]
    assert [row["epoch"] for row in semimoe] == ["3"]
    assert supervised[-1]["lr"] == semimoe[-1]["lr"]
    assert {row["steps"] for row in supervised + semimoe} == {"16"}


def test_without_unlabelled_tiles_semimoe_equals_the_supervised_run_that_it_continues(
    tmp_path, discs
) -> None:
    supervised = train("supervised", tmp_path / "supervised", discs(3, 40))
    semimoe = train("semimoe", tmp_path / "semimoe", discs(3, 40), warm_start=supervised)
    assert read_files(supervised, FILES[:1]) == read_files(semimoe, FILES[:1])


def test_a_warm_start_after_the_last_epoch_or_of_a_wrong_method_is_an_error(
    tmp_path, discs
) -> None:
    supervised = train("supervised", tmp_path / "supervised", discs(2, 40), training=ONE_STEP)
    with pytest.raises(TrainingError, match="state after epoch 1"):
        train(
            "semimoe",
            tmp_path / "semimoe",
            discs(2, 40),
            training=ONE_STEP,
            warm_start=supervised,
        )
    with pytest.raises(TrainingError, match="warm_start is for"):
        train("supervised", tmp_path / "again", discs(2, 40), warm_start=supervised)


def test_fine_tuning_starts_from_a_model_with_a_tenth_of_the_learning_rate(tmp_path, discs) -> None:
    first = train("supervised", tmp_path / "first", discs(3, 40))
    tuned = train("supervised", tmp_path / "tuned", discs(3, 40, seed=3), start_from=first)
    assert len(read_history(tuned)) == 2
    assert float(read_history(tuned)[0]["lr"]) == pytest.approx(
        float(read_history(first)[0]["lr"]) / 10
    )
    cards = [json.loads((folder / "model.json").read_text()) for folder in (first, tuned)]
    assert cards[0]["normalisation"] == cards[1]["normalisation"]
    assert "validation_before" not in cards[0]
    with pytest.raises(TrainingError, match="another network"):
        train(
            "supervised",
            tmp_path / "other",
            discs(3, 40),
            start_from=first,
            network=NetworkSettings(encoder="unet", experts="separate", width=8),
        )


def test_the_card_of_a_fine_tuned_model_has_scores_before_and_after_and_inherits_the_licence(
    trained_models, tmp_path, discs
) -> None:
    held_out = discs(2, 90, seed=9)
    tuned = train(
        "semimoe",
        tmp_path / "tuned",
        discs(2, 48, seed=3),
        None,
        held_out,
        start_from=trained_models["semimoe"],
    )
    card = json.loads((tuned / "model.json").read_text())
    assert card["notes"] == {"licence": "synthetic", "start_from": str(trained_models["semimoe"])}
    before = dice_on(Predictor.load(trained_models["semimoe"], device="cpu", threads=1), held_out)
    assert card["validation_before"]["dice_at_half"] == pytest.approx(before, abs=2e-3)
    assert card["validation_before"]["tuned_dice_at_half"] == pytest.approx(
        max(float(row["val_dice_gate"]) for row in read_history(tuned)), rel=1e-4
    )
    keys = ("object_f1", "object_dice")
    is_better = sum(card["validation"][key] for key in keys) > sum(
        card["validation_before"][key] for key in keys
    )
    says_so = [text for text in card["warnings"] if "did not make the model better" in text]
    assert bool(says_so) is not is_better
    assert all(str(trained_models["semimoe"]) in text for text in says_so)


def test_a_fine_tuned_model_that_is_not_better_says_so_in_log_and_card(
    trained_models, tmp_path, discs, caplog
) -> None:
    held_out = discs(1, 64, seed=9)
    frozen = {"lr": 1e-12, "statistics": "frozen", "epochs": 1, "steps_per_epoch": 1}
    tuned = train(
        "supervised",
        tmp_path / "tuned",
        discs(1, 48, seed=3),
        validation=held_out,
        start_from=trained_models["supervised"],
        training=SHORT_TRAINING.model_copy(update=frozen | {"warm_start_epochs": 0}),
    )
    card = json.loads((tuned / "model.json").read_text())
    (warning,) = (text for text in card["warnings"] if "did not make the model better" in text)
    assert f"take the start model {trained_models['supervised']}" in warning
    assert warning in caplog.messages


def test_the_weights_of_a_fine_tuned_model_are_the_mean_with_those_of_its_start_model(
    trained_models, tmp_path, discs
) -> None:
    start = trained_models["supervised"]
    again = {"start_from": start, "training": ONE_STEP}
    tuned = train("supervised", tmp_path / "tuned", discs(1, 48, seed=3), **again)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semimoe.training.finish.START_SHARE", 0.0)
        last = train("supervised", tmp_path / "last", discs(1, 48, seed=3), **again)
    first, mean, trained = (
        load_tensors(folder / "model.safetensors")[0] for folder in (start, tuned, last)
    )
    changed = [name for name in first if first[name].is_floating_point()]
    assert any(not torch.equal(first[name], trained[name]) for name in changed)
    for name in changed:
        expected = (first[name] + trained[name]) / 2
        torch.testing.assert_close(mean[name], expected, rtol=1e-5, atol=1e-7)
    assert json.loads((tuned / "model.json").read_text())["start_share"] == 0.5


def test_without_validation_a_fine_tuned_model_keeps_threshold_and_split_of_its_start_model(
    trained_models, tmp_path, discs
) -> None:
    start = tmp_path / "start"
    shutil.copytree(trained_models["supervised"], start)
    values = json.loads((start / "model.json").read_text())
    values["flips"] = {"threshold": 0.77, "split": values["split"] | {"growth_um": 6}}
    values |= {"threshold": 0.81}
    values["split"] |= {"growth_um": 7}
    (start / "model.json").write_text(json.dumps(values))
    flips = ONE_STEP.model_copy(update={"choose_with_flips": True})
    again = {"start_from": start, "training": flips}
    tuned = train("supervised", tmp_path / "tuned", discs(1, 48, seed=3), **again)
    card = json.loads((tuned / "model.json").read_text())
    assert (card["threshold"], card["split"]["growth_um"]) == (0.81, 7)
    assert card["flips"] == values["flips"]
    assert card["threshold_from"] == "start model"
    assert any("is not known" in warning for warning in card["warnings"])


def test_both_choices_of_the_start_model_stay_unless_others_are_better(
    trained_models, tmp_path, discs, monkeypatch
) -> None:
    monkeypatch.setattr("semimoe.training.validation._GLAND_CHANGES", 100)  # none is better
    start = tmp_path / "start"
    shutil.copytree(trained_models["supervised"], start)
    card = load_card(start)
    for_flips = ChoiceWithFlips(
        threshold=0.77, split=card.split.model_copy(update={"growth_um": 6.5})
    )
    save_card(start, card.model_copy(update={"flips": for_flips}))
    tuned = load_card(
        train(
            "supervised",
            tmp_path / "tuned",
            discs(1, 48, seed=3),
            validation=discs(1, 64, seed=9),
            start_from=start,
            training=ONE_STEP.model_copy(update={"choose_with_flips": True}),
        )
    )
    assert (tuned.threshold, tuned.split) == (card.threshold, card.split)
    assert tuned.flips is not None
    assert (tuned.flips.threshold, tuned.flips.split) == (0.77, for_flips.split)


def test_log_and_card_warn_if_outputs_get_another_meaning_than_in_the_start_model(
    trained_models, tmp_path, discs, caplog
) -> None:
    start = trained_models["supervised"]
    network = load_card(start).network
    again = {"start_from": start, "training": ONE_STEP}
    for name, changes in (("same", {}), ("other", {"sdf_um": 2 * network.sdf_um})):
        changed = network.model_copy(update=changes)
        train("supervised", tmp_path / name, discs(1, 48), network=changed, **again)
    same, other = (
        [text for text in load_card(tmp_path / name).warnings if "another meaning" in text]
        for name in ("same", "other")
    )
    assert same == []
    (warning,) = other
    assert f"network.sdf_um is {2 * network.sdf_um} here and {network.sdf_um} there" in warning
    assert warning in caplog.messages


def test_log_and_card_warn_if_the_start_model_has_another_resolution(
    tmp_path, discs, caplog
) -> None:
    first = train("supervised", tmp_path / "first", discs(2, 40), training=ONE_STEP)
    again = {"start_from": first, "training": ONE_STEP}
    similar, different = (
        train("supervised", tmp_path / str(mpp), discs(2, 40), mpp_um=mpp, **again)
        for mpp in (1.04, 0.9)
    )
    similar_card, different_card = (
        json.loads((folder / "model.json").read_text()) for folder in (similar, different)
    )
    assert not any("um per pixel" in warning for warning in similar_card["warnings"])
    (warning,) = (text for text in different_card["warnings"] if "um per pixel" in text)
    assert "trained at 1 um per pixel, and trains at 0.9" in warning
    assert caplog.messages.count(warning) == 1


def test_the_history_of_an_unfinished_run_is_beside_its_checkpoint(
    tmp_path, discs, monkeypatch
) -> None:
    monkeypatch.setattr(
        "semimoe.training.finish.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())
    )
    with pytest.raises(KeyboardInterrupt):
        train("supervised", tmp_path / "model", discs(2, 40))
    with (tmp_path / "model.resume" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_an_error_about_a_loss_that_is_not_finite_names_the_tiles(tmp_path, discs) -> None:
    with pytest.raises(
        TrainingError,
        match=r"epoch \d, step \d: the loss of supervised_phase is .*, on labelled tiles \[",
    ):
        train(
            "supervised",
            tmp_path / "model",
            discs(2, 40),
            # Settings are not checked in a copy: no valid rate gives a loss that is not finite.
            training=SHORT_TRAINING.model_copy(update={"lr": 1e30, "max_grad_norm": None}),
        )


@pytest.mark.parametrize("lr", [1e30, 3e38])  # weights too large to compute with, or infinite
def test_weights_that_are_not_finite_after_the_last_step_are_an_error(tmp_path, discs, lr) -> None:
    one_step = SHORT_TRAINING.model_copy(
        update={
            "epochs": 1,
            "steps_per_epoch": 1,
            "optimizer": "sgd",
            "lr": lr,
            "max_grad_norm": None,
        }
    )
    with pytest.raises(
        TrainingError,
        match=r"epoch 1, after step 1: weights are not finite; lower training\.lr",
    ):
        train("supervised", tmp_path / "model", discs(2, 40), training=one_step)
    assert not (tmp_path / "model" / "model.json").exists()
    assert not (tmp_path / "model.resume" / "epoch.safetensors").exists(), (
        "a later run would resume from these weights"
    )


def test_training_without_labelled_tiles_or_epochs_is_an_error(tmp_path, discs) -> None:
    with pytest.raises(TrainingError, match="no labelled tile"):
        train("supervised", tmp_path / "model", discs(0))
    with pytest.raises(ValueError, match="epochs"):
        TrainingSettings(warm_start_epochs=0, precision="fp32", epochs=0)


def test_other_files_of_the_model_folder_stay_and_the_checkpoint_is_deleted(
    tmp_path, discs
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("kept")
    train("supervised", tmp_path / "model", discs(2, 40))
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"mine.txt", "timing.csv", "warm_start.safetensors", *FILES}
    assert not (tmp_path / "model.resume").exists()


def test_training_does_not_change_the_random_state_of_the_caller(tmp_path, discs) -> None:
    before = torch.get_rng_state()
    train("supervised", tmp_path / "model", discs(2, 40), training=ONE_STEP)
    assert torch.equal(before, torch.get_rng_state())


def test_checkpoints_are_bounded_by_time_and_the_last_epoch_has_one(
    tmp_path, discs, monkeypatch
) -> None:
    """With a long interval, only the end is written; with none, each epoch."""
    from semimoe.training.checkpoints import CheckpointWriter

    epochs: list[int] = []
    write = CheckpointWriter.write

    def count(writer, path, tensors, metadata) -> None:
        epochs.append(metadata["epoch"])
        write(writer, path, tensors, metadata)

    monkeypatch.setattr(CheckpointWriter, "write", count)
    three_epochs = SHORT_TRAINING.model_copy(update={"epochs": 3})
    for interval_s, expected in ((0.0, [1, 2, 3]), (1000.0, [3])):
        epochs.clear()
        train(
            "unet",
            tmp_path / str(interval_s),
            discs(2, 40),
            training=three_epochs,
            checkpoint_interval_s=interval_s,
        )
        assert epochs == expected


def test_a_checkpoint_of_another_seed_is_not_used(tmp_path, discs, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    expected = train("supervised", tmp_path / "expected", discs(2, 40), seed=1)
    monkeypatch.setattr("semimoe.training.finish.finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train("supervised", tmp_path / "model", discs(2, 40), seed=0)
    assert (tmp_path / "model.resume").is_dir()
    monkeypatch.undo()
    assert read_files(train("supervised", tmp_path / "model", discs(2, 40), seed=1)) == read_files(
        expected
    )


def test_with_a_start_model_the_second_network_of_cps_keeps_its_pretrained_encoder(
    tmp_path, discs, monkeypatch
) -> None:
    """All its stages are frozen: with random weights they would stay random."""
    network = NetworkSettings(encoder="efficientnet-lite0", width=4, tasks="seg")
    frozen = ONE_STEP.model_copy(update={"frozen_stages": 6, "statistics": "frozen"})
    settings = {"network": network, "training": frozen}
    data = (discs(2, 40), discs(2, 40, seed=5, labels=False))
    first = train("unet", tmp_path / "first", data[0], **settings)
    runs = []
    monkeypatch.setattr("semimoe.training.finish.finish", lambda run, *_: runs.append(run))
    train("cps", tmp_path / "tuned", *data, start_from=first, **settings)
    pretrained = make_encoder(network)
    load_pretrained(pretrained)
    (run,) = runs
    for name, expected in pretrained.state_dict().items():
        assert torch.equal(run.learner.second.encoder.state_dict()[name], expected), name


def test_a_card_without_normalisation_has_that_of_its_weights(
    trained_models, tmp_path, discs
) -> None:
    start = tmp_path / "start"
    shutil.copytree(trained_models["supervised"], start)
    values = json.loads((start / "model.json").read_text())
    expected, values["normalisation"] = values["normalisation"], {}
    (start / "model.json").write_text(json.dumps(values))
    again = {"start_from": start, "training": ONE_STEP}
    tuned = load_card(train("supervised", tmp_path / "tuned", discs(1, 48, seed=3), **again))
    assert tuned.normalisation.mean == pytest.approx(expected["mean"], abs=1e-6)
    assert tuned.normalisation.std == pytest.approx(expected["std"], abs=1e-6)
