"""One click on Launch puts all nine GLUE tasks into the queue; Findings shows how far they are and analyses them."""

from __future__ import annotations

import time

from dqf.jobs import protocol
from dqf.study import own
from tests.app.conftest import everything
from tests.support.example_study import finish_run


def launched(open_page, seeds=1):
    app = open_page("launch", {"launch_everywhere": True})
    assert not app.exception
    assert "About " in everything(app)
    app.number_input(key="launch_everywhere_seeds").set_value(seeds).run()
    app.button(key="launch_everywhere_button").click().run()
    assert not app.exception
    return app


def test_all_nine_tasks_are_one_click_and_findings_tells_how_far_they_are(open_page, settings):
    app = launched(open_page)
    runs = protocol.list_runs(settings.runs_dir)
    assert len(runs) == 9
    assert {protocol.run_state(run) for run in runs} == {protocol.QUEUED}
    (study,) = own.own_studies(settings)
    button = app.button(key=f"analyse_{study.plan.name}")
    assert button.disabled
    assert study.plan.title in everything(app)


def test_several_seeds_are_several_runs_a_task(open_page, settings):
    launched(open_page, seeds=2)
    assert len(protocol.list_runs(settings.runs_dir)) == 18


def test_a_wrong_form_launches_nothing(open_page, settings):
    app = open_page("launch", {"launch_everywhere": True})
    app.number_input(key="launch.quantization.group_size").set_value(100).run()
    assert not app.exception
    assert "The form above must be right first." in everything(app)
    assert not any(button.key == "launch_everywhere_button" for button in app.button)
    assert protocol.list_runs(settings.runs_dir) == []


def test_findings_analyses_what_is_done(open_page, settings):
    launched(open_page)
    (study,) = own.own_studies(settings)
    for entry in own.sweep_of(settings, study.plan).entries[:2]:
        finish_run(settings.runs_dir / entry.run_id, entry.run.config)
    app = open_page("findings")
    assert not app.exception
    assert not app.button(key=f"analyse_{study.plan.name}").disabled
    app.button(key=f"analyse_{study.plan.name}").click().run()
    assert not app.exception
    until = time.monotonic() + 120
    while own.own_studies(settings)[0].analysing:
        assert time.monotonic() < until
        time.sleep(0.2)
    app = open_page("findings", study=study.plan.name)
    assert not app.exception
    assert app.selectbox(key="study").value == study.plan.name
    assert any("H1" in one.value for one in app.markdown)
    assert f"python -m dqf study {settings.results_dir / 'studies' / study.plan.name}.json" in everything(app)
    assert app.button(key=f"analyse_{study.plan.name}").disabled
