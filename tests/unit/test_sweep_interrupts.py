"""Ctrl-C on a sweep, whenever it comes."""

import signal

import pytest

from dqf.sweeps.work import ctrl_c_noted


def test_a_ctrl_c_after_the_loop_has_last_looked_is_raised_and_ctrl_c_is_itself_again():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), ctrl_c_noted():
        signal.getsignal(signal.SIGINT)(signal.SIGINT, None)  # not a real one, which the test process may die of
    assert signal.getsignal(signal.SIGINT) is before


def test_without_ctrl_c_nothing_is_raised():
    with ctrl_c_noted() as asked:
        pass
    assert not asked.is_set()
