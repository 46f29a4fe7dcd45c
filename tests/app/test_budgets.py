"""Limits on the frontier page: they come from the address, the answer is a sentence."""

from __future__ import annotations

from tests.app.conftest import everything


def test_limits_come_from_the_address(open_page, filled):
    app = open_page("frontier", max_mb="20", max_ms="2", within="5.0")
    assert not app.exception
    assert app.select_slider(key="max_mb").value == 20
    assert app.select_slider(key="max_ms").value == 2
    assert "Smallest within 5 pp of the teacher, at most 20.0\u00a0MB and at most 2.00\u00a0ms:" in everything(app)


def test_nothing_fits_names_the_closest_and_what_it_misses(open_page, filled):
    app = open_page("frontier", max_ms="1.2", x="Latency")
    text = everything(app)
    assert "no variant fits; the closest is" in text
    assert "it misses latency by" in text
    app.select_slider(key="max_ms").set_value(float("inf")).run()
    assert "no variant fits" not in everything(app)


def test_a_limit_that_no_slider_has_is_kept_and_nonsense_is_ignored(open_page, filled):
    app = open_page("frontier", max_mb="0.3", max_ms="many")
    assert not app.exception
    assert app.select_slider(key="max_mb").value == 0.3
    assert "it misses size by" in everything(app)
    for evil in ("nan", "-1", "inf", "1e300", "<b>"):
        assert not open_page("frontier", max_mb=evil).exception
