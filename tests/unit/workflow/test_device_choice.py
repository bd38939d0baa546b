import logging

import pytest
import torch

from workflow.stages.device_choice import device_for


def test_without_a_granted_gpu_it_is_the_cpu_and_nothing_is_said(caplog):
    assert device_for(0) == "cpu"
    assert caplog.text == ""


def test_a_granted_gpu_that_is_not_there_is_the_cpu_with_a_reason_and_ways_out(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caplog.set_level(logging.WARNING)
    assert device_for(1) == "cpu"
    assert "on the CPU, although a GPU was granted" in caplog.text
    assert "model=FOLDER" not in caplog.text
    assert device_for(1, training=True) == "cpu"
    assert "model=FOLDER" in caplog.text


@pytest.mark.parametrize("training", [False, True])
def test_a_granted_gpu_that_torch_sees_is_taken(monkeypatch, training):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for(1, training=training) == "gpu"
