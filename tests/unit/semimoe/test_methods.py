"""The table of methods, and the defining property of each method."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from disc_pictures import fit_on_cpu
from learner_steps import METHOD_NAMES, TINY_NETWORK, TINY_TRAINING, a_step, context

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.methods.cps import CrossPseudoSupervisionLearner
from semimoe.methods.mean_teacher import MeanTeacherLearner
from semimoe.methods.method import OptionalPackage
from semimoe.model_errors import MissingPackageError
from semimoe.prediction.predictor import Predictor
from semimoe.tensor_files import save_tensors
from semimoe.training.checkpoints import checkpoint_tensors, load_checkpoint
from semimoe.training.recipe import TrainingData

pytestmark = pytest.mark.xdist_group("training_steps")


def test_the_table_imports_no_torch_and_names_existing_files() -> None:
    code = "import sys, semimoe.methods, semimoe.settings; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    for name, method in METHODS.items():
        assert method.name == name
        if method.is_installed:
            assert method.load_learner().__name__.endswith("Learner")
        assert method.starts_from is None or method.starts_from in METHODS
    assert len({method.colour for method in METHODS.values()}) == len(METHODS)
    assert MAIN_METHOD.name in METHODS


def test_a_method_whose_package_is_missing_says_how_to_install_it() -> None:
    package = OptionalPackage("no_such_module", "No-Such==1.2.*")
    method = dataclasses.replace(METHODS["unet"], package=package)
    assert not method.is_installed
    with pytest.raises(MissingPackageError, match=r"unet needs .*pip install 'No-Such==1\.2\.\*'"):
        method.load_learner()


def test_a_package_without_its_own_dependency_is_not_complete() -> None:
    package = OptionalPackage("pytest", "pytest[extra]==9.*", dependencies=("no_such_module",))
    method = dataclasses.replace(METHODS["unet"], package=package)
    problem = r"unet needs the package no_such_module, .*pip install 'pytest\[extra\]==9\.\*'"
    with pytest.raises(MissingPackageError, match=problem):
        method.check_package()


@pytest.mark.parametrize("name", ["toposemiseg", "match"])
def test_only_the_training_of_a_method_with_topology_needs_its_package(name, monkeypatch) -> None:
    package = OptionalPackage("no_such_module", "gudhi==3.13.*", only_for_training=True)
    monkeypatch.setitem(METHODS, name, dataclasses.replace(METHODS[name], package=package))
    learner = METHODS[name].load_learner()
    learner.build_network(TINY_NETWORK)
    with pytest.raises(MissingPackageError, match=f"{name} needs .*pip install 'gudhi==3"):
        learner(context())


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_every_method_trains_resumes_and_predicts(tmp_path, discs, monkeypatch, name) -> None:
    from semimoe.training.training_run import TrainingRun

    data = TrainingData(discs(3, 40), discs(4, 40, seed=5, labels=False), discs(1, 40, seed=9))

    two_epochs = TINY_TRAINING.model_copy(update={"epochs": 2, "steps_per_epoch": 1})

    def run(folder: str) -> list[bytes]:
        fit_on_cpu(name, data, network=TINY_NETWORK, training=two_epochs, out=tmp_path / folder)
        files = ("model.safetensors", "history.csv", "model.json")
        return [(tmp_path / folder / file).read_bytes() for file in files]

    expected, end_epoch = run("complete"), TrainingRun.end_epoch

    def interrupt(training_run: TrainingRun, validation: object) -> None:
        end_epoch(training_run, validation)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "end_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("interrupted")
    assert run("interrupted") == expected
    card = json.loads((tmp_path / "complete" / "model.json").read_text())
    assert card["method"] == name
    predictor = Predictor.load(tmp_path / "complete", device="cpu", threads=1)
    assert predictor(discs(1, 48)[0].image[None]).shape == (1, 4, 48, 48)


def test_the_teacher_is_the_exponential_average_of_the_student() -> None:
    torch.manual_seed(0)
    learner = MeanTeacherLearner(context())
    expected = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    for number in range(1, 4):
        with torch.no_grad():
            for parameter in learner.student.parameters():
                parameter.add_(torch.randn_like(parameter))
        learner.after_update(199 + number)
        for name, tensor in learner.student.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = 0.99 * expected[name] + 0.01 * tensor
    for name, tensor in learner.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


def test_pseudo_labels_of_a_teacher_without_all_gates_are_derived_from_its_mask() -> None:
    """The whole tile is a gland, the experts predict its distance 1: both losses are 0."""
    network = TINY_NETWORK.model_copy(update={"gates": "single"})
    learner = METHODS["semimoe"].load_learner()(
        context(pseudo="teacher", ema_decay=0.9)._replace(network=network)
    )
    with torch.no_grad():
        for head in (*learner.network.expert_heads, *learner.network.gate_heads):
            head.weight.zero_()
            head.bias.copy_(torch.tensor([-9.0, 9.0] if len(head.bias) == 2 else [9.0]))
        learner.network.expert_heads[2].bias.copy_(torch.tensor([9.0, -9.0]))  # no boundary
    learner.start_average()
    result = learner.phases()[1](a_step())
    assert result.log["unsup_seg"] < 0.01
    assert result.log["unsup_sdf"] < 0.01


def test_the_model_is_the_moving_average_of_the_weights_if_the_settings_say_so(
    tmp_path, discs
) -> None:
    torch.manual_seed(0)
    learner = METHODS["unet"].load_learner()(context(ema_decay=0.5))
    learner.start_average()
    expected = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    for step, decay in enumerate((0.1, 2 / 11, 0.25)):
        with torch.no_grad():
            for parameter in learner.network.parameters():
                parameter.add_(torch.randn_like(parameter))
        learner.update_average(step)
        for name, tensor in learner.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor
    for name, tensor in learner.predicting_network.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, expected[name])
    assert not any(p.requires_grad for p in learner.predicting_network.parameters())

    def weights(**changes) -> bytes:
        out = tmp_path / str(changes)
        training = TINY_TRAINING.model_copy(update=changes)
        data = TrainingData(discs(3, 40), None, None)
        fit_on_cpu("unet", data, network=TINY_NETWORK, training=training, out=out)
        return (out / "model.safetensors").read_bytes()

    assert weights(ema_decay=0.5) != weights()


def test_the_first_update_makes_the_teacher_equal_to_the_student() -> None:
    learner = MeanTeacherLearner(context())
    with torch.no_grad():
        for parameter in learner.student.parameters():
            parameter.add_(1.0)
    learner.after_update(0)
    pairs = zip(learner.network.parameters(), learner.student.parameters(), strict=True)
    for teacher, student in pairs:
        torch.testing.assert_close(teacher, student)


def test_the_teacher_gets_no_gradient_and_its_running_statistics_do_not_change() -> None:
    learner = MeanTeacherLearner(context()).train()
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    for phase in learner.phases():
        phase(a_step()).loss.backward()
    assert all(parameter.grad is None for parameter in learner.network.parameters())
    assert any(parameter.grad is not None for parameter in learner.student.parameters())
    after = learner.network.state_dict()
    assert all(
        torch.equal(after[name], tensor) for name, tensor in before.items() if "num" not in name
    )


def test_without_noise_a_student_equal_to_its_teacher_has_no_consistency_loss(monkeypatch) -> None:
    learner = MeanTeacherLearner(context()).train()
    monkeypatch.setattr(learner, "_with_noise", lambda images: images)
    assert learner.consistency_phase(a_step()).loss.item() == 0
    monkeypatch.undo()
    assert learner.consistency_phase(a_step()).loss.item() > 0


def test_no_gradient_of_cross_supervision_goes_through_a_pseudo_label() -> None:
    """The gradient of each network is that of the cross-entropy to a fixed mask."""
    torch.manual_seed(0)
    learner = CrossPseudoSupervisionLearner(context()).train()
    step = a_step(progress=1.0)
    learner.cross_phase(step).loss.backward()
    gradients = [
        parameter.grad.clone()
        for parameter in learner.network.parameters()
        if parameter.grad is not None
    ]
    learner.zero_grad(set_to_none=True)
    with torch.no_grad():
        fixed = learner.second(step.unlabelled.image).gates.seg.argmax(1)
    logits = learner.network(step.unlabelled.image).gates.seg
    torch.nn.functional.cross_entropy(logits, fixed).backward()
    expected = [
        parameter.grad for parameter in learner.network.parameters() if parameter.grad is not None
    ]
    for first, second in zip(gradients, expected, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_the_two_networks_have_different_initial_weights_and_both_are_trained() -> None:
    torch.manual_seed(0)
    learner = CrossPseudoSupervisionLearner(context()).train()
    pairs = list(zip(learner.network.parameters(), learner.second.parameters(), strict=True))
    assert any(not torch.equal(one, two) for one, two in pairs)
    for phase in learner.phases():
        phase(a_step()).loss.backward()
    assert all(two.grad is not None for _, two in pairs)
    (optimizer,) = learner.optimizers(lr=0.1).values()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2 * len(pairs)


def test_a_checkpoint_holds_every_module_and_buffer_of_a_learner(tmp_path) -> None:
    saved, loaded = MeanTeacherLearner(context()), MeanTeacherLearner(context())
    for learner, step in ((saved, 3.0), (loaded, 0.0)):
        learner.register_buffer("steps", torch.tensor(step))
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in saved.parameters():
            tensor.copy_(torch.randn_like(tensor))
    save_tensors(tmp_path / "x.safetensors", checkpoint_tensors(saved, {}), {"epoch": 1})
    metadata, best = load_checkpoint(tmp_path / "x.safetensors", loaded, {})
    assert (metadata, best) == ({"epoch": 1}, {})
    expected = saved.state_dict()
    assert expected.keys() == loaded.state_dict().keys()
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
