import logging
from pathlib import Path

import pytest
import torch

from workflow.stages.job_resources import device_for, scratch_folder


def test_without_a_granted_gpu_the_device_is_the_cpu_without_a_warning(caplog):
    assert device_for(0) == "cpu"
    assert caplog.text == ""


def test_a_granted_gpu_that_is_missing_gives_the_cpu_with_reason_and_advice(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caplog.set_level(logging.WARNING)
    assert device_for(1) == "cpu"
    assert "running on the CPU although a GPU was granted" in caplog.text
    assert "model=FOLDER" not in caplog.text
    assert device_for(1, training=True) == "cpu"
    assert "model=FOLDER" in caplog.text


@pytest.mark.parametrize("training", [False, True])
def test_a_granted_gpu_that_torch_can_use_is_taken(monkeypatch, training):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for(1, training=training) == "gpu"


def test_the_scratch_folder_is_expanded_on_the_machine_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_DISK", str(tmp_path))
    assert scratch_folder("$LOCAL_DISK/slides") == tmp_path / "slides"
    assert scratch_folder(None) is None
    monkeypatch.delenv("LOCAL_DISK")
    with pytest.raises(ValueError, match=r"\$LOCAL_DISK/slides is not set"):
        scratch_folder("$LOCAL_DISK/slides")
