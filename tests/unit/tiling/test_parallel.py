import threading

import pytest

from tiling.parallel import for_each


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(workers):
    items = [(i, [i]) for i in range(50)]
    assert for_each(
        lambda item: item[0] ** 2, items, workers=workers, what="squares", progress=False
    ) == [i**2 for i in range(50)]
    assert for_each(type, items[:1], workers=workers, what="types", progress=False) == [tuple]


def test_nothing_to_do_is_nothing_done():
    assert for_each(lambda item: item, [], workers=2, what="blocks", progress=True) == []


def test_workers_run_at_the_same_time():
    together = threading.Barrier(2, timeout=20)
    assert sorted(
        for_each(lambda _: together.wait(), [0, 1], workers=2, what="blocks", progress=False)
    ) == [0, 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_error_is_raised_as_it_is(workers):
    def fail(item):
        raise KeyError(item)

    with pytest.raises(KeyError):
        for_each(fail, [7], workers=workers, what="blocks", progress=False)


def test_a_short_job_leaves_no_lines_in_a_log(capsys):
    for_each(lambda item: item, list(range(5)), workers=1, what="blocks", progress=True)
    assert capsys.readouterr().err == ""


def test_an_error_is_raised_only_when_no_thread_is_at_work_any_more():
    together, raised, finished = threading.Barrier(2), threading.Event(), []

    def work(item):
        if together.wait(5) == 0:  # whichever comes second of the first two
            raised.set()
            raise KeyError(item)
        raised.wait(5)
        threading.Event().wait(0.2)
        finished.append(item)

    with pytest.raises(KeyError):
        for_each(work, [0, 1], workers=2, what="blocks", progress=False)
    assert len(finished) == 1


def test_items_are_begun_in_order():
    begun = []
    for_each(begun.append, list(range(40)), workers=1, what="items", progress=False)
    assert begun == list(range(40))
