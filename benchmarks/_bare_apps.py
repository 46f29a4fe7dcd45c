"""Apps with nothing of ours in them: what of the dashboard's times is Streamlit's and the browser's on a machine.

`write_bare` makes one of a page of one line and a page of a chart and a table of a dozen points; `write_same_parts` one
whose only page holds as many controls as Frontier, and its charts and tables as they were computed before.
"""

from __future__ import annotations

import pickle
from itertools import combinations
from pathlib import Path

ROUTER = "import streamlit as st\nst.set_page_config(layout='wide')\nst.navigation([{pages}], position='top').run()\n"
PAGES = {
    "text": "import streamlit as st\nst.title('Text')\nst.write('one line')\n",
    "chart": """import pandas as pd, plotly.graph_objects as go, streamlit as st
st.title('Chart')
n = len(st.pills('Points', ['one', 'two', 'three'], selection_mode='multi')) + 12
st.plotly_chart(go.Figure(go.Scatter(x=list(range(n)), y=list(range(n)), mode='markers')))
st.dataframe(pd.DataFrame({'x': range(n), 'y': range(n)}))
""",
}
SAME_PARTS = """import pickle
from pathlib import Path
import streamlit as st

@st.cache_resource
def parts():
    return pickle.loads(Path(__file__).with_name('parts.pickle').read_bytes())

@st.fragment
def explore():
    left, right = st.columns((2, 5))
    with left:
        for name in ('Size', 'Latency', 'Loss'):
            st.select_slider(name, range(20))
        st.selectbox('Task', ['one', 'two'])
        kinds = st.pills('Method', KINDS, selection_mode='multi')
        st.pills('Quantizer', ['GPTQ', 'Not quantized'], selection_mode='multi')
        bits = st.pills('Bits', ['FP16', '4-bit'], selection_mode='multi')
        st.toggle('Verified only')
    chart, table = parts()[frozenset(kinds), bool(bits)]
    with right:
        if chart is None:
            st.write('nothing')
            return
        st.plotly_chart(chart, key='chart', on_select='rerun')
        st.caption('one')
        st.caption('two')
    st.dataframe(table, key='table', hide_index=True, on_select='rerun', selection_mode='multi-row')

st.title('Frontier')
explore()
"""


def write_bare(folder: Path) -> None:
    """Write the app of `PAGES`."""
    _write(folder, PAGES)


def write_same_parts(folder: Path, results: Path) -> None:
    """Write the app whose page sends what Frontier sends, computed here.

    Args:
        folder: of the app.
        results: the results folder the charts and tables are of.
    """
    from dqf.settings import load_settings
    from dqf.store import queries
    from dqf.store.db import Store
    from dqf.ui import frames, variant_table
    from dqf.ui.axes import SCORE, SIZE
    from dqf.ui.frontier.budgets import Budget, choose
    from dqf.ui.frontier.chart import frontier

    store = Store.open(load_settings(results))
    variants, scores = frames.derive(queries.variants(store)), queries.scores(store)
    store.close()
    task = str(frames.newest_run_with_variants(variants)["task"].iloc[0])
    kinds, budget = frames.options(variants, "kind"), Budget(loss=0.02)
    parts = {}
    for size in range(len(kinds) + 1):
        for some in combinations(kinds, size):
            for bits in ((), ("4-bit",)):
                shown = frames.Filters(task, some, (), bits).apply(variants)
                best = choose(shown, budget, SIZE.column)
                marked = (str(best.row["key"]), "Best that fits") if best else None
                chart = None if shown.empty else frontier(shown, SIZE, SCORE, fits=budget.fits(shown), marked=marked)
                table = variant_table.build(shown.head(200), scores, with_run=True)
                parts[frozenset(some), bool(bits)] = (chart, table)
    _write(folder, {"frontier": SAME_PARTS.replace("KINDS", repr(kinds))})
    (folder / "parts.pickle").write_bytes(pickle.dumps(parts))


def _write(folder: Path, pages: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in pages.items():
        (folder / f"{name}.py").write_text(code)
    listed = ", ".join(f"st.Page('{name}.py', title='{name.capitalize()}')" for name in pages)
    (folder / "app.py").write_text(ROUTER.format(pages=listed))
