"""Work in turns: order, progress, and an end within one step."""

from __future__ import annotations

import threading
import time

import pytest

from wordbrush.studio.desk import Desk, Studio, Superseded
from wordbrush.studio.state import Limits
from wordbrush.studio.turns import Done, Report, Step, Stopped, TooMany, Turns, Waiting, stream

PATIENT = 10.0


def steps(report: Report, count: int = 3) -> str:
    for step in range(count):
        report.seen(f"picture {step}")
        report.progress(step + 1, count)
    return "done"


def held(begun: threading.Event, go: threading.Event):
    def work(report: Report) -> None:
        begun.set()
        assert go.wait(PATIENT)

    return work


def test_work_tells_how_far_it_is():
    updates = list(stream(steps, Turns(), threading.Event()))
    assert updates[-1] == Done("done")
    assert all(update.seen == f"picture {update.step - 1}" for update in updates if isinstance(update, Step))


def test_an_error_is_raised_where_the_work_is_followed():
    def fail(report: Report) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(stream(fail, Turns(), threading.Event()))


def test_stopped_work_ends_within_one_step():
    stop, made = threading.Event(), []

    def work(report: Report) -> None:
        for step in range(100):
            made.append(step)
            if step == 4:
                stop.set()
            report.progress(step + 1, 100)

    with pytest.raises(Stopped):
        list(stream(work, Turns(), stop))
    assert made == [0, 1, 2, 3, 4]


def test_closing_the_stream_stops_the_work():
    stop, ended = threading.Event(), threading.Event()

    def work(report: Report) -> None:
        try:
            for step in range(10**6):
                report.progress(step, 10**6)
                time.sleep(0.001)
        finally:
            ended.set()

    updates = stream(work, Turns(), stop)
    assert isinstance(next(updates), Step)
    updates.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert ended.wait(PATIENT)


def test_one_at_a_time_in_order():
    turns, begun, go, order = Turns(), threading.Event(), threading.Event(), []
    first = stream(held(begun, go), turns, threading.Event())
    threads = [threading.Thread(target=lambda: list(first))]
    threads[0].start()
    assert begun.wait(PATIENT)
    seen: list[list[object]] = [[], []]

    def follow(number: int) -> None:
        for update in stream(lambda report: order.append(number), turns, threading.Event()):
            seen[number].append(update)

    for number in (0, 1):
        threads.append(threading.Thread(target=follow, args=(number,)))
        threads[-1].start()
        while len(turns._line) < number + 2:
            time.sleep(0.001)
    while not all(seen):
        time.sleep(0.001)
    assert order == []
    assert (seen[0][0], seen[1][0]) == (Waiting(1), Waiting(2))
    go.set()
    for thread in threads:
        thread.join(PATIENT)
    assert order == [0, 1]


def test_a_full_line_is_refused():
    turns, begun, go = Turns(most=0), threading.Event(), threading.Event()
    running = stream(held(begun, go), turns, threading.Event())
    thread = threading.Thread(target=lambda: list(running))
    thread.start()
    assert begun.wait(PATIENT)
    with pytest.raises(TooMany, match="1 others are waiting"):
        list(stream(steps, turns, threading.Event()))
    go.set()
    thread.join(PATIENT)
    assert list(stream(steps, turns, threading.Event()))[-1] == Done("done")


def test_something_newer_takes_the_place_of_what_a_desk_wanted():
    studio = Studio(model=None, limits=Limits())  # pyright: ignore[reportArgumentType]
    desk, ends = studio.desk("one"), []
    begun = threading.Event()

    def endless(report: Report) -> None:
        begun.set()
        while True:
            report.progress(0, 1)
            time.sleep(0.001)

    def follow() -> None:
        try:
            list(studio.work(desk, endless))
        except Stopped as error:
            ends.append(type(error))

    thread = threading.Thread(target=follow)
    thread.start()
    assert begun.wait(PATIENT)
    assert list(studio.work(desk, steps))[-1] == Done("done")
    thread.join(PATIENT)
    assert ends == [Superseded]


def test_patience_lets_only_the_last_of_many_through():
    studio = Studio(model=None)  # pyright: ignore[reportArgumentType]
    desk, made, ends = studio.desk("one"), [], []

    def follow(number: int) -> None:
        try:
            list(studio.work(desk, lambda report: made.append(number), patience=0.3))
        except Superseded:
            ends.append(number)

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    for thread in threads:
        thread.join(PATIENT)
    assert (made, sorted(ends)) == ([3], [0, 1, 2])


def test_leaving_stops_the_work_and_clears_the_desk():
    studio = Studio(model=None)  # pyright: ignore[reportArgumentType]
    desk = studio.desk("one")
    assert studio.desk("one") is desk
    assert studio.desk("two") is not desk
    stop = desk.begin()
    studio.leave("one")
    assert stop.is_set()
    assert isinstance(studio.desk("one"), Desk)
    assert studio.desk("one") is not desk
