import pytest

from dqf.jobs import protocol
from dqf.settings import load_settings
from dqf.store import queries
from dqf.store.db import Store
from dqf.store.ingest import sync
from dqf.ui import frames, variant_table
from tests.support.example_runs import write_example_run

NEW = (
    "throughput_per_s",
    "throughput_batch",
    "throughput_n",
    "energy_j_per_1000",
    "energy_source",
    "energy_watts_per_core",
)


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "results")


def table_of(settings):
    store = Store.open(settings)
    try:
        sync(store, settings)
        rows = frames.derive(queries.variants(store))
        return rows, variant_table.build(rows, queries.scores(store))
    finally:
        store.close()


def test_throughput_and_energy_are_shown_and_an_estimate_is_called_one(settings):
    write_example_run(settings.runs_dir)
    rows, table = table_of(settings)
    assert (table["Batch 8 (/s)"] > 0).all()
    assert set(table["Energy is"]) == {"estimated"}
    assert "assumed 5 W per busy core" in variant_table.energy_note(rows)


def test_measured_energy_is_not_called_estimated(settings):
    run_dir = write_example_run(settings.runs_dir)
    result = protocol.read_json(run_dir / "result.json")
    for row in result["variants"]:
        row.update(energy_source="rapl", energy_watts_per_core=None)
    protocol.write_json(run_dir / "result.json", result)
    rows, table = table_of(settings)
    assert set(table["Energy is"]) == {"measured, processor"}
    assert "estimated" not in variant_table.energy_note(rows)


def test_results_of_earlier_versions_load_and_show_what_they_have(settings):
    run_dir = write_example_run(settings.runs_dir)
    result = protocol.read_json(run_dir / "result.json")
    for row in result["variants"]:
        for name in NEW:
            del row[name]
    protocol.write_json(run_dir / "result.json", result)
    rows, table = table_of(settings)
    assert len(rows) == 5
    assert rows[list(NEW)].isna().all().all()
    assert not [name for name in table if "Energy" in name or "Batch" in name]
    assert variant_table.energy_note(rows) == ""


def test_an_extra_part_is_shown_and_is_no_part_of_the_score(settings):
    run_dir = write_example_run(settings.runs_dir, task="mnli")
    result = protocol.read_json(run_dir / "result.json")
    for row in result["variants"]:
        row["tasks"]["mnli-mismatched"] = {**row["tasks"]["mnli"], "value": 0.1, "ci95_low": 0.05, "extra": True}
    protocol.write_json(run_dir / "result.json", result)
    rows, table = table_of(settings)
    assert set(rows["tasks_n"]) == {1}
    assert set(rows["task"]) == {"mnli"}
    assert rows["score_ci95_low"].notna().all()
    assert set(table["mnli-mismatched (%)"]) == {10.0}
