import signal
import threading
import time

import pytest

from tiling.parallel import JobSettings, for_each

ONE, TWO, THREE = (JobSettings(workers) for workers in (1, 2, 3))


@pytest.mark.parametrize("job", [ONE, THREE])
def test_results_have_the_order_of_the_items(job):
    items = [(i, [i]) for i in range(50)]
    squares = for_each(lambda item: item[0] ** 2, items, job=job, nouns="squares")
    assert squares == [i**2 for i in range(50)]
    assert for_each(type, items[:1], job=job, nouns="types") == [tuple]


def test_without_items_there_is_no_result_and_no_progress(capsys):
    job = JobSettings(workers=2, progress=True)
    assert for_each(lambda item: item, [], job=job, nouns="blocks") == []
    assert capsys.readouterr().err == ""


def test_workers_run_at_the_same_time():
    both = threading.Barrier(2, timeout=20)
    assert sorted(for_each(lambda _: both.wait(), [0, 1], job=TWO, nouns="blocks")) == [0, 1]


@pytest.mark.parametrize("job", [ONE, THREE])
def test_an_error_is_raised_unchanged(job):
    def fail(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        for_each(fail, [7], job=job, nouns="blocks")


def test_a_short_job_writes_no_lines_to_a_log(capsys):
    for_each(lambda item: item, list(range(5)), job=JobSettings(1, progress=True), nouns="blocks")
    assert capsys.readouterr().err == ""


def test_an_error_is_raised_after_all_running_items_have_ended():
    both, raised, finished = threading.Barrier(2), threading.Event(), []

    def work(item):
        if both.wait(5) == 0:  # one of the two threads gets 0
            raised.set()
            raise KeyError(item)
        raised.wait(5)
        threading.Event().wait(0.2)
        finished.append(item)

    with pytest.raises(KeyError):
        for_each(work, [0, 1], job=TWO, nouns="blocks")
    assert len(finished) == 1


def test_no_item_is_started_after_an_error():
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.02)
        if item == 5:
            raise KeyError(item)

    with pytest.raises(KeyError):
        for_each(work, list(range(200)), job=THREE, nouns="items")
    assert len(started) <= 8


@pytest.mark.parametrize("job", [ONE, THREE])
def test_items_are_started_in_order(job):
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.001)

    for_each(work, list(range(100)), job=job, nouns="items")
    for place, item in enumerate(started):
        # Smaller items that have not started yet can only be those that other threads hold.
        assert len(set(range(item)) - set(started[:place])) < job.workers


@pytest.mark.parametrize("job", [ONE, THREE])
def test_an_interrupt_starts_no_further_item_and_waits_for_the_running_ones(job, request):
    # A process that was started in the background ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    started, finished = [], []

    def work(item):
        started.append(item)
        if item == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.1)
        finished.append(item)

    with pytest.raises(KeyboardInterrupt):
        for_each(work, list(range(100)), job=job, nouns="items")
    count = len(started)
    assert count < 15
    if job.workers > 1:
        assert len(finished) == count
    time.sleep(0.2)
    assert len(started) == count
