"""Receipts: names of layers, reading files that may be broken, outcomes, sentences, tables and the heat strip."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dqf.errors import UserError
from dqf.ui import theme
from dqf.ui.receipt import facts as receipts
from dqf.ui.receipt import strip as receipt_strip
from dqf.ui.receipt import table as receipt_table
from dqf.ui.receipt.layer_names import layer_names
from dqf.ui.receipt.strip import ERROR, RATIO
from tests.support.example_receipts import BERT, LLAMA, LOOKED_UP, example_receipt


def layer(name: str = "layers.0.q_proj.weight", **values: object) -> dict[str, object]:
    """One row on which GPTQ halved the error."""
    row = {"name": name, "kind": "linear", "method": "gptq", "bits": 4, "error": 0.01, "error_rtn": 0.02}
    return {**row, "error_of": "output", "fallback": "", **values}


def lost(name: str = "layers.0.k_proj.weight", **values: object) -> dict[str, object]:
    reason = "gptq had the larger error (0.03)"
    return layer(name, method="rtn", error=0.02, fallback=reason, **values)


@pytest.mark.parametrize(
    ("name", "depth", "role"),
    [
        ("model.layers.11.self_attn.q_proj.weight", 11, "q_proj"),
        ("bert.encoder.layer.3.attention.self.query.weight", 3, "query"),
        ("transformer.h.0.attn.c_attn.weight", 0, "c_attn"),
        ("model.embed_tokens.weight", None, "embed_tokens"),
        ("score", None, "score"),
        ("classifier.0.weight", None, "0"),
        ("0.linear", 0, "linear"),
        (".", None, ""),
    ],
)
def test_depth_and_role_of_one_weight(name, depth, role):
    (found,) = layer_names([name])
    assert (found.depth, found.role) == (depth, role)


def test_roles_are_as_short_as_they_can_be_told_apart():
    names = [f"bert.encoder.layer.{depth}.{role}.weight" for depth in (0, 1) for role in BERT]
    found = layer_names([*names, "bert.pooler.dense.weight"])
    assert [one.role for one in found[:6]] == [
        "query",
        "key",
        "value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ]
    assert found[-1].label == "pooler.dense"
    assert found[6].label == "1 · query"


def test_encoder_and_decoder_do_not_share_rows():
    found = layer_names([f"model.{part}.layers.0.self_attn.q_proj.weight" for part in ("encoder", "decoder")])
    assert len({one.role for one in found}) == 2


def test_columns_follow_depth_with_a_place_before_and_after():
    frame = receipts.table(example_receipt(llama=True))
    assert frame["column"].iloc[0] == -1
    assert frame["column"].iloc[-1] == 10
    assert frame.loc[frame["role"] == "down_proj", "column"].tolist() == list(range(10))
    assert set(receipts.table([layer("a.weight"), layer("b.weight")])["column"]) == {-1}


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        (layer(), receipts.KEPT),
        (lost(), receipts.LOST),
        (layer(error=0.03), receipts.LOST),
        (layer(method="rtn", error=0.02), receipts.KEPT),
        (layer(fallback="no calibration input reached this layer"), receipts.FELL_BACK),
        (layer(kind="embedding", method="rtn", fallback=LOOKED_UP), receipts.BY_DESIGN),
        (layer(kind="embedding", method="rtn", fallback="hqq had the larger error (1)"), receipts.LOST),
        (layer(error=0.03, block_error_before=0.2, block_error=0.1), receipts.KEPT),
        (layer(error=0.03, output_distance_before=0.2, output_distance=0.1), receipts.KEPT),
        (layer(error=0.03, output_distance_before=0.2, output_distance=0.2), receipts.LOST),
        ({"name": "x"}, receipts.KEPT),
    ],
)
def test_outcome_tells_design_from_loss(row, outcome):
    assert receipts.table([row])["outcome"].item() == outcome


def test_rows_may_lack_keys_have_more_or_wrong_types():
    rows = [
        {"name": "a", "bits": "four", "error": [1], "method": None, "symmetric": "yes", "new": {"x": 1}},
        {"name": "b", "bits": True, "error": float("nan"), "error_rtn": 10**400, "seconds": 1.5},
        {"name": "\ud800", "error": 0.1, "error_rtn": 0},
    ]
    frame = receipts.table(rows)
    assert frame["bits"].isna().all()
    assert frame["ratio"].isna().all()
    assert frame["symmetric"].tolist() == [None] * 3
    assert frame["seconds"].tolist()[1] == 1.5
    assert "an unnamed method kept on 3" in receipts.summary(frame)
    assert receipts.facts(frame) == ""
    for measure in (RATIO, ERROR):
        json.loads(receipt_strip.strip(frame, measure).to_json())
    receipt_table.build(frame).to_csv()
    receipt_table.overview([("a", frame)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "whole JSON"),
        ("\x00", "whole JSON"),
        ("[" * 100_000, "whole JSON"),
        ("{}", "list of layers"),
        ("[]", "list of layers"),
        ("[1]", "list of layers"),
        ('[{"name": "a"}, {"bits": 4}]', "list of layers"),
        ('[{"name": 3}]', "list of layers"),
    ],
)
def test_broken_and_foreign_files_are_refused_in_a_sentence(tmp_path, content, says):
    path = tmp_path / "receipt.json"
    path.write_text(content)
    with pytest.raises(UserError, match=says):
        receipts.read(path)


def test_bytes_that_are_no_text_and_huge_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "receipt.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="whole JSON"):
        receipts.read(path)
    monkeypatch.setattr(receipts, "LARGEST_BYTES", 2)
    with pytest.raises(UserError, match="smaller than"):
        receipts.read(path)


def test_only_files_inside_the_run_are_found(tmp_path):
    run = tmp_path / "run"
    (run / "receipts").mkdir(parents=True)
    (run / "receipts" / "a.json").write_text("[]")
    outside = tmp_path / "outside.json"
    outside.write_text("[]")
    (run / "link.json").symlink_to(outside)
    assert receipts.locate(run, "receipts/a.json") == run / "receipts" / "a.json"
    for where in ("../outside.json", str(outside), "link.json", "receipts", "receipts/../../outside.json", "no", "\0"):
        with pytest.raises(UserError, match="inside its run"):
            receipts.locate(run, where)
    for where in (None, "", float("nan")):
        with pytest.raises(UserError, match="names none"):
            receipts.locate(run, where)


def test_summary_says_what_was_kept_and_why_not():
    frame = receipts.table(example_receipt())
    text = receipts.summary(frame)
    assert text.startswith(
        "40 layers: GPTQ kept on 37, round-to-nearest kept on 3 "
        "(2 tables, looked up, not multiplied; 1 where gptq had the larger error). GPTQ's output error is 0."
    )
    assert text.endswith("× round-to-nearest's (median of 37 layers).")
    assert (
        receipts.facts(frame)
        == "4-bit · groups of 32 weights · asymmetric · up to 1\u202f590 calibration tokens a layer"
    )


def test_summary_of_plain_rounding_and_of_a_loss_that_was_kept():
    plain = receipts.table(example_receipt(quantizer="rtn"))
    assert not receipts.compares(plain)
    assert "round-to-nearest kept on 40. Round-to-nearest's weight error is" in receipts.summary(plain)
    worse = receipts.table([layer(error=0.03)])
    assert "1 layer kept a result with a larger error than round-to-nearest's." in receipts.summary(worse)


def test_summary_says_what_tuning_all_layers_together_did():
    nearer = receipts.table([layer(output_distance_before=0.5, output_distance=0.123)])
    assert receipts.summary(nearer).endswith("on texts held back, fell from 0.50 to 0.12.")
    undone = receipts.table([layer(output_distance_before=0.5, output_distance=0.5)])
    assert receipts.summary(undone).endswith("no nearer to full precision: undone.")
    assert "together" not in receipts.summary(receipts.table([layer()]))


def test_mixed_precision_is_named_and_weighed():
    frame = receipts.table([layer(bits=8, params=100), layer("layers.1.q_proj.weight", bits=4, params=300)])
    assert receipts.bits_per_weight(frame) == pytest.approx(5.0)
    assert "Bits differ: 8 on 1, 4 on 1; 5.00 a weight on average." in receipts.summary(frame)
    texts = {
        text for trace in receipt_strip.strip(frame, RATIO).data if trace.type == "heatmap" for text in trace.text.flat
    }
    assert {"4", "8"} <= texts


def cells(figure, trace: int) -> list[tuple[int, int]]:
    return [tuple(cell) for cell in np.argwhere(np.isfinite(np.asarray(figure.data[trace].z, dtype=float)))]


def test_every_layer_is_one_cell_and_losses_are_amber_with_a_mark():
    frame = receipts.table(example_receipt(llama=True))
    figure = receipt_strip.strip(frame, RATIO)
    heat = [at for at, trace in enumerate(figure.data) if trace.type == "heatmap"]
    found = [cell for at in heat for cell in cells(figure, at)]
    assert len(found) == len(set(found)) == len(frame)
    (amber,) = [at for at in heat if figure.data[at].colorscale[0][1] == theme.WARNING_COLOR]
    lost_row = 1 + LLAMA.index("self_attn.k_proj")
    assert cells(figure, amber) == [(lost_row, 2)]
    (mark,) = [trace for trace in figure.data if trace.type == "scatter" and trace.x[0] is not None]
    assert (mark.x[0], mark.y[0]) == (2, lost_row)
    (grey,) = [at for at in heat if figure.data[at].colorscale[0][1] == theme.NEUTRAL_COLOR]
    assert "looked up" in figure.data[grey].hovertext[0][0]
    legend = [trace.name for trace in figure.data if trace.type == "scatter" and trace.showlegend is None]
    assert legend == ["Lost to round-to-nearest, or fell back", "Rounded by design"]


def test_hover_text_of_a_strip_is_escaped():
    frame = receipts.table([layer('layers.0.<a href="x">', method="<b>", fallback="<i>why</i>")])
    figure = receipt_strip.strip(frame, ERROR)
    texts = [*figure.layout.yaxis.ticktext, *figure.data[0].hovertext.flat]
    assert not any("<a" in text or "<i>" in text for text in texts)


def test_table_has_units_and_columns_of_later_receipts_only_where_they_are():
    table = receipt_table.build(receipts.table([layer(seconds=2.0), lost()]))
    assert {"Error (%)", "RTN error (%)", "× RTN", "Calibration tokens", "Time (s)"} <= set(table)
    assert "Activation bits" not in table
    assert table["Outcome"].tolist() == ["● kept", "▲ lost"]
    assert table["Error (%)"].tolist() == pytest.approx([1.0, 2.0])


def test_overview_counts_outcomes():
    table = receipt_table.overview([("a", receipts.table(example_receipt())), ("a", receipts.table([layer()]))])
    assert table["▲ Lost"].tolist() == [1, 0]
    assert table["By design"].tolist() == [2, 0]
    assert table["× RTN, median"].iloc[1] == pytest.approx(0.5)
