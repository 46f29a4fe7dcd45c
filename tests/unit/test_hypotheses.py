"""Verdicts on made-up studies whose truth is known."""

import dataclasses
import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dqf.errors import UserError
from dqf.evaluate.decomposition import PARTS, decompose
from dqf.evaluate.evidence import evidence_of, system
from dqf.evaluate.hypotheses import judge, judge_h1, judge_h2, judge_h3
from dqf.evaluate.metrics import majority_score
from dqf.evaluate.sanity import check_students, check_teacher
from tests.support.example_study import MS, SHARES, SIZES, study_frames

N = 500


def evidence(n_resamples=N, **changes):
    return evidence_of(*study_frames(**changes), n_resamples=n_resamples)


def shares(**changes):
    """Return the shares of `SHARES` with `dqf=0.7` and the like put in."""
    names = {"teacher": "teacher", "ft": "student-ft", "kd": "student-kd", "ptq": "student-ptq", "dqf": "student-dqf"}
    changed = {names[name]: share for name, share in changes.items()}
    return {key: changed.get(key[0], share) for key, share in SHARES.items()}


def verdicts(found):
    return {one.bits: one.verdict for one in found}


def test_a_study_where_the_paper_is_right():
    found = judge(evidence())
    assert {name: verdicts(one) for name, one in found.items()} == {
        name: {"4": "supported", "all": "supported"} for name in ("H1", "H2", "H3")
    }
    h1 = found["H1"][0]
    assert h1.effect == pytest.approx(0.05, abs=0.02)
    assert h1.low < h1.effect < h1.high
    assert h1.details["compression_over_student_kd"] == pytest.approx(45.4 / 13.3)
    assert "3.4x smaller" in h1.sentence
    assert found["H2"][0].effect == pytest.approx(2.2 / 1.5, rel=0.05)
    assert found["H3"][0].effect == pytest.approx(0.85 / 0.86 - 0.80 / 0.85, abs=0.02)
    assert found["H3"][0].details["pairs"] == 6
    for one in (verdict for group in found.values() for verdict in group):
        assert one.sentence.startswith(one.verdict.capitalize())
        json.dumps(asdict(one), allow_nan=False)


def test_distillation_that_hurts_refutes_h1_and_h3():
    found = judge(evidence(shares=shares(ptq=0.84, dqf=0.78)))
    h1, h3 = found["H1"][0], found["H3"][0]
    assert h1.verdict == h3.verdict == "refuted"
    assert h1.effect < 0
    # In words, value and interval count in the direction that is named.
    farther = f"{-100 * h1.effect:.2f} points [{-100 * h1.high:.2f}, {-100 * h1.low:.2f}] farther from the teacher's"
    assert farther in h1.sentence
    assert f"keeps {-100 * h3.effect:.2f} points [{-100 * h3.high:.2f}, {-100 * h3.low:.2f}] less of" in h3.sentence


def test_no_difference_is_undecided():
    same = evidence(shares=shares(kd=0.85, ptq=0.82, dqf=0.82), rng_seed=1)
    assert judge_h1(same)[0].verdict == judge_h3(same)[0].verdict == "undecided"


def test_a_claim_that_rests_on_one_task_is_not_made():
    same = study_frames(tasks=("a", "b", "c"), shares=shares(kd=0.85, ptq=0.82, dqf=0.82))
    odd = study_frames(tasks=("odd",), shares=shares(ptq=0.4, dqf=0.8), rng_seed=5)
    found = evidence_of(*(pd.concat(pair) for pair in zip(same, odd, strict=True)), n_resamples=N)
    h1, h3 = judge_h1(found)[0], judge_h3(found)[0]
    for one in (h1, h3):
        assert one.low > 0
        assert one.p_holm < 0.05
        assert one.verdict == "undecided"
        assert set(one.details["rests_on"]) == {"odd"}
        assert "rests on single tasks: without odd it is" in one.sentence
    effect = h1.details["rests_on"]["odd"]
    assert effect["low"] < 0 < effect["high"]
    everywhere = evidence_of(*study_frames(tasks=("a", "b", "c", "d")), n_resamples=N)
    assert judge_h1(everywhere)[0].verdict == "supported"
    assert judge_h1(everywhere)[0].details["rests_on"] == {}


def test_a_task_whose_teacher_gives_one_answer_does_not_count_for_claims_about_scores():
    """There a student that is no better than chance makes any other look good, and there is nothing to keep."""
    frames = study_frames(tasks=("a", "b", "mute"), shares=shares(kd=0.85, ptq=0.82, dqf=0.82))
    predictions = frames[1]
    mute = predictions["task"] == "mute"
    copies = mute & predictions["variant"].isin(["teacher", "student-kd", "student-dqf"])
    worse = mute & ~copies
    majority = predictions[mute]["label"].mode()[0]
    predictions.loc[copies, "prediction"] = majority
    predictions.loc[worse, "prediction"] = np.where(np.arange(worse.sum()) % 4, 1 - predictions[worse]["label"], 0)
    found = evidence_of(*frames, n_resamples=N)
    assert found.telling == ("a", "b")
    h1, h3 = judge_h1(found), judge_h3(found)
    assert (h1[0].verdict, h3[0].verdict) == ("undecided", "undecided")
    for one in (*h1, *h3):
        assert one.details["not_counted"] == ["mute"]
        assert "Not counted, as its teacher does no better than one answer to all: mute." in one.sentence
    alone = judge_h1(evidence(shares=shares(kd=0.85, ptq=0.82, dqf=0.82)))[0]
    assert h1[0].effect == pytest.approx(alone.effect, abs=0.03)
    kinds = {(flag.kind, flag.task) for flag in check_students(found)}
    assert ("below-constant", "mute") in kinds
    assert {task for _, task in kinds} == {"mute"}


def test_without_any_telling_teacher_nothing_is_claimed():
    frames = study_frames(shares=shares(ptq=0.3, dqf=0.8))
    frames[1].loc[frames[1]["variant"] == "teacher", "prediction"] = 0
    found = evidence_of(*frames, n_resamples=N)
    assert found.telling == ()
    for one in (*judge_h1(found), *judge_h3(found)):
        assert one.verdict == "undecided"
        assert "no task's teacher does better than one answer to all" in one.sentence


def test_h1_needs_compression_too():
    big = evidence(sizes={**SIZES, "student-dqf": 40e6})
    assert judge_h1(big)[0].verdict == "refuted"
    assert "less than the 1.5x" in judge_h1(big)[0].sentence


def test_a_student_above_its_teacher_is_as_close_as_can_be():
    above = judge_h1(evidence(shares=shares(teacher=0.70)))[0]
    assert (above.verdict, above.effect) == ("undecided", 0.0)


def test_h2_is_refuted_by_a_faster_rival():
    slow = judge_h2(evidence(ms={**MS, "student-dqf": 2.6}))
    assert verdicts(slow) == {"4": "refuted", "all": "refuted"}
    rivals = slow[0].details["sessions"]["fastest"]
    assert rivals["rival"] in ("student-ft", "student-kd")
    assert rivals["effect"] == pytest.approx(2.2 / 2.6, rel=0.05)


def test_h2_over_all_bits_says_how_fast_it_is_in_both_sessions():
    found = judge_h2(evidence())
    fastest, shared = (found[0].details["sessions"][name]["effect"] for name in ("fastest", "shared"))
    expected = f"closest rival is {fastest:.2f}x, each in its fastest runtime; {shared:.2f}x, all in one runtime"
    assert expected in found[-1].sentence
    assert "as fast as Student-" in found[0].sentence


def test_h2_does_not_ask_to_beat_the_same_network_in_the_same_format():
    assert judge_h2(evidence(ms={**MS, "student-ptq": 1.48}))[0].verdict == "supported"
    behind = judge_h2(evidence(ms={**MS, "student-ptq": 1.2}))[0]
    assert behind.verdict == "refuted"
    assert "clearly slower than Student-PTQ" in behind.sentence


def test_h2_is_undecided_between_equals_and_without_a_shared_runtime():
    assert judge_h2(evidence(ms={**MS, "student-ft": 1.5, "student-kd": 1.5}))[0].verdict == "undecided"
    alone = judge_h2(evidence(sessions=("fastest",)))
    assert verdicts(alone) == {"4": "undecided", "all": "undecided"}
    assert "all in one runtime it was not timed" in alone[0].sentence
    none = judge_h2(evidence(sessions=()))[0]
    assert (none.verdict, none.p_holm) == ("undecided", 1.0)


def test_a_lead_within_which_one_network_differs_from_itself_is_none():
    """In one runtime students are one network; over many runs 2 % can be told from nothing, but says nothing."""
    close = judge_h2(evidence(ms={**MS, "student-ft": 1.54, "student-kd": 1.54}))[0]
    shared = close.details["sessions"]["shared"]
    assert shared["low"] > 1
    assert shared["p_holm"] < 0.05
    assert (shared["verdict"], close.verdict) == ("undecided", "undecided")
    assert "not by more than the 5% that one network is allowed to differ from itself" in close.sentence
    behind = judge_h2(evidence(ms={**MS, "student-ft": 1.46, "student-kd": 1.46}))[0]
    assert behind.details["sessions"]["shared"]["verdict"] == "undecided"


def test_where_one_runtime_serves_all_students_a_small_lead_is_none_either():
    ms = {**MS, "student-ft": 1.56, "student-kd": 1.56}
    apart = judge_h2(evidence(ms=ms))[0]
    assert apart.details["sessions"]["fastest"]["verdict"] == "supported"
    alike = judge_h2(evidence(ms=ms, runtimes=dict.fromkeys(SIZES, "openvino-fp32")))
    assert alike[0].details["sessions"]["fastest"]["verdict"] == "undecided"
    assert "in the one runtime that serves all students it is 1.0" in alike[0].sentence
    assert "in the one runtime that serves all students; 1.0" in alike[-1].sentence


def test_h2_asks_for_one_runtime_of_the_tasks_that_count_alone():
    """Runtimes of a task that another machine timed say nothing of the margin."""
    ms = {**MS, "student-ft": 1.56, "student-kd": 1.56}
    variants, predictions, latency = study_frames(tasks=("a", "b", "c"), ms=ms)
    variants = variants.assign(hardware="here", threads=2)
    there = variants["task"] == "c"
    variants.loc[~there, "runtime"] = "openvino-fp32"
    assert variants.loc[there, "runtime"].nunique() > 1
    mixed = judge_h2(evidence_of(variants, predictions, latency, N))[0]
    assert mixed.details["sessions"]["fastest"]["verdict"] == "supported"
    variants.loc[there, "hardware"] = "there"
    found = judge_h2(evidence_of(variants, predictions, latency, N))[0]
    assert found.details["sessions"]["fastest"]["verdict"] == "undecided"
    assert found.details["not_counted"] == ["c"]


def test_h2_says_nothing_of_a_session_that_lacks_a_rival():
    variants, predictions, latency = study_frames()
    lost = (latency["session"] == "shared") & (latency["variant"] == "teacher") & (latency["task"] == "b")
    found = judge_h2(evidence_of(variants, predictions, latency[~lost], N))[0]
    assert (found.verdict, list(found.details["sessions"])) == ("undecided", ["fastest"])


def test_h2_is_not_judged_by_the_tasks_that_happen_to_be_timed():
    variants, predictions, latency = study_frames()
    lost = (latency["session"] == "shared") & (latency["task"] == "b")
    found = judge_h2(evidence_of(variants, predictions, latency[~lost], N))[0]
    assert (found.verdict, list(found.details["sessions"])) == ("undecided", ["fastest"])
    assert "all in one runtime it was not timed" in found.sentence


def test_totals_are_one_test_each_and_say_so():
    found = judge(evidence())
    assert [" corrected p = " in one.sentence for name in ("H1", "H3") for one in found[name]] == [True, False] * 2
    assert all(" p = " in one.sentence and one.p_holm == one.p_value for one in (found["H1"][-1], found["H3"][-1]))


def test_p_values_are_corrected_over_the_bit_widths():
    several = {**SHARES}
    for bits in ("8", "3", "2"):
        several |= {("student-ptq", bits): 0.82, ("student-dqf", bits): 0.83}
    found = judge_h3(evidence(shares=several, n=200))
    assert [one.bits for one in found] == ["8", "4", "3", "2", "all"]
    raw = sorted(one.p_value for one in found[:-1])
    assert sorted(one.p_holm for one in found[:-1])[0] == pytest.approx(min(1, 4 * raw[0]))
    assert all(one.p_holm >= one.p_value for one in found)
    assert found[-1].effect == pytest.approx(np.mean([one.effect for one in found[:-1]]))


def test_nothing_is_claimed_too_often_where_nothing_is():
    """With students that differ by chance alone, claims of H1 and H3 are rare."""
    same = shares(teacher=0.9, ft=0.82, kd=0.82, ptq=0.82, dqf=0.82)
    claims = [0, 0]
    for seed in range(25):
        one = evidence(300, shares=same, n=150, sessions=(), rng_seed=seed)
        claims[0] += judge_h1(one)[0].verdict != "undecided"
        claims[1] += judge_h3(one)[0].verdict != "undecided"
    assert max(claims) <= 5


def test_one_seed_and_one_task_are_enough_for_a_verdict():
    found = judge(evidence(tasks=("a",), seeds=(7,)))
    assert found["H1"][0].verdict in ("supported", "undecided")
    assert "welch_p_value" not in found["H1"][0].details, "one seed has no variance to test with"
    assert found["H1"][0].details["seeds"] == 1
    assert found["H3"][0].details["paired_t_p_value"] == 1.0


def test_seeds_are_tested_on_the_tasks_that_have_several():
    whole = evidence(tasks=("a", "b"), seeds=(0, 1, 2))
    part = dataclasses.replace(whole, seeds={**whole.seeds, "b": (0,)})
    details = judge(part)["H1"][0].details
    assert (details["seeds"], details["seed_tasks"]) == (3, ["a"])
    names = (system("student-dqf", "4"), system("student-ptq", "4"))
    expected = stats.ttest_ind(*(whole.scores["a"].scores[name] for name in names), equal_var=False).pvalue
    assert details["welch_p_value"] == pytest.approx(expected)


def test_perfect_variants_are_undecided_not_a_crash():
    perfect = judge(evidence(shares=dict.fromkeys(SHARES, 1.0), n=30))
    assert perfect["H1"][0].verdict == perfect["H3"][0].verdict == "undecided"
    assert perfect["H3"][0].p_holm == 1.0


def test_a_seed_that_only_some_variants_have_is_left_out():
    variants, predictions, latency = study_frames()
    lost = (predictions["seed"] == 2) & (predictions["variant"] == "student-dqf") & (predictions["task"] == "a")
    found = evidence_of(variants, predictions[~lost], latency, N)
    assert found.seeds == {"a": (0, 1), "b": (0, 1, 2)}
    assert len(found.seed_scores("student-dqf@4")) == 2


def test_a_bit_width_that_a_task_lacks_is_not_judged():
    variants, predictions, latency = study_frames({**SHARES, ("student-ptq", "2"): 0.6, ("student-dqf", "2"): 0.7})
    lost = (predictions["bits"] == "2") & (predictions["task"] == "a")
    assert evidence_of(variants, predictions[~lost], latency, 50).bits == ("4",)


def test_other_examples_and_missing_teachers_are_refused():
    variants, predictions, latency = study_frames()
    with pytest.raises(UserError, match="a has none"):
        evidence_of(variants, predictions[predictions["variant"] != "teacher"], latency)
    shifted = predictions.assign(idx=predictions["idx"] + (predictions["variant"] == "student-kd"))
    with pytest.raises(UserError, match="same examples"):
        evidence_of(variants, shifted, latency)


def test_the_parts_of_the_loss_add_up():
    macro = evidence().macro()
    parts = decompose(macro, "4")
    assert sum(parts[name].value for name in PARTS) == pytest.approx(parts["total"].value)
    assert parts["smaller_student"].value == pytest.approx(0.05, abs=0.02)
    assert parts["quantization"].value == pytest.approx(0.05, abs=0.02)
    assert parts["interaction"].high < 0
    assert parts["total"].low < parts["total"].value < parts["total"].high


def test_the_gate_flags_weak_teachers_and_students_that_beat_theirs():
    labels = np.array([0] * 70 + [1] * 30)
    assert majority_score("accuracy", labels) == 0.7
    assert majority_score("f1", labels) == pytest.approx(2 * 0.3 / 1.3)
    assert majority_score("matthews_corrcoef", labels) == 0.0
    assert majority_score("pearson_spearman", np.linspace(0, 5, 50)) == 0.0
    assert majority_score("accuracy", []) == 0.0
    assert [flag.kind for flag in check_teacher("rte", 0.5, 0.53, 0.66)] == ["constant"]
    assert [flag.kind for flag in check_teacher("rte", 0.55, 0.53, 0.66)] == ["far-below-published"]
    assert check_teacher("rte", 0.62, 0.53, 0.66) == check_teacher("own", 0.62, 0.53, None) == []
    (always_one,) = check_teacher("wnli", 40 / 71, 40 / 71, 0.5634)  # published: the same constant, rounded
    assert "scores 0.563, no better than the 0.563 of always giving one answer." in always_one.sentence
    assert check_teacher("wnli", 41 / 71, 40 / 71, 0.5634) == []
    assert [flag.kind for flag in check_teacher("cola", 0.41, 0.0, 0.565)] == ["below-published"]
    assert "15.5 points below the published 0.565" in check_teacher("cola", 0.41, 0.0, 0.565)[0].sentence
    assert check_students(evidence()) == []
    flags = check_students(evidence(shares=shares(teacher=0.7)))
    assert {flag.kind for flag in flags} == {"beats-teacher"}
    assert ("a", "student-kd") in {(flag.task, flag.system) for flag in flags}
    assert "points [" in flags[0].sentence
