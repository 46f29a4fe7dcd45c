"""Findings: the paper's claims, tested on what was measured."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components
from dqf.ui.findings import costs, duel, method_note, peers, verdict_cards
from dqf.ui.findings import examples as study_examples
from dqf.ui.findings import own as own_studies
from dqf.ui.findings import sections as finding_sections
from dqf.ui.findings import view as findings_view

studio, controls = components.start_page("Findings", "The paper's claims, tested on measured files.")
own_studies.show(studio)
chosen = findings_view.choose(studio, controls)
if chosen is None:
    findings_view.nothing_yet()
    peers.show()
    st.stop()
study, part, bits = chosen
findings_view.introduction(study, part)
findings_view.warnings(part)
findings_view.headline(part, bits)
verdict_cards.show(part, bits)
finding_sections.decomposition(part, bits)
findings_view.first_table(part)
findings_view.second_table(study, part, bits)
duel.show(study, part, bits)
finding_sections.pays(study)
finding_sections.settings(study)
costs.show(study)
costs.show_serving(study, part)
study_examples.show(study, part, studio.settings)
peers.show()
method_note.show(study, part)
