"""Apps with nothing of ours in them: what of the dashboard's times is Streamlit's and the browser's on a machine.

`write_bare` makes one of a page of one line and a page of a chart and a table of a dozen points; `write_same_parts` one
whose pages hold as many elements of each kind as ours of the same names, the charts and tables of Frontier computed
before: what those pages would take if nothing had to be computed.
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
LOADED = """import pickle
from pathlib import Path
import streamlit as st

@st.cache_resource
def parts():
    return pickle.loads(Path(__file__).with_name('parts.pickle').read_bytes())

"""
SAME_PARTS = {
    "overview": """import streamlit as st
st.title('DQF Studio')
for row in range(2):
    for column in st.columns(5):
        with column.container(border=True):
            st.caption('one line')
            st.markdown('**one** line')
for column in st.columns(4):
    column.metric('Size', '13.2 MB', '20 times smaller')
st.button('one')
""",
    "runs": LOADED
    + """st.title('Runs')
st.selectbox('Run', [f'20260101-000000-starter-{number:04x}' for number in range(2000)])
table = parts()[frozenset(), False][1]
st.caption('one line')
st.dataframe(table.iloc[:, :9], key='table', on_select='rerun', selection_mode='single-row')
for column in st.columns(3):
    column.button('one', key=str(column))
with st.tabs(['one', 'two', 'three', 'four', 'five'])[0]:
    st.dataframe(table.head(12))
""",
    "frontier": LOADED
    + """@st.fragment
def explore():
    left, right = st.columns((2, 5))
    with left:
        with st.container(border=True):
            for name in ('Size', 'Latency', 'Loss'):
                st.select_slider(name, range(20))
        with st.container(border=True):
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
""",
    "compare": LOADED
    + """st.title('Compare')
st.multiselect('Variants', ['one', 'two', 'three'])
st.markdown('one line')
st.dataframe(parts()[frozenset(), False][1].head(12))
st.button('one')
""",
    "launch": LOADED
    + """st.title('Launch')
for row in range(6):
    left, right = st.columns(2)
    with left.container(border=True):
        st.caption('one line')
        st.selectbox(f'Choice {row}', ['one', 'two', 'three'])
    with right.container(border=True):
        st.number_input(f'Number {row}', value=1)
st.pills('Bits', ['8', '4', '3', '2'], selection_mode='multi')
st.toggle('Mixed')
for name in ('Advanced', 'More'):
    with st.expander(name):
        st.markdown('one line')
for column in st.columns(3):
    column.metric('Size', '13.2 MB')
for rows in (5, 6):
    st.dataframe(parts()[frozenset(), False][1].head(rows).iloc[:, :6])
st.button('Start')
""",
}


def write_bare(folder: Path) -> None:
    """Write the app of `PAGES`."""
    _write(folder, PAGES)


def write_same_parts(folder: Path, results: Path) -> None:
    """Write the app whose pages have as many elements as ours; what Frontier shows is computed here.

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
    _write(folder, {name: code.replace("KINDS", repr(kinds)) for name, code in SAME_PARTS.items()})
    (folder / "parts.pickle").write_bytes(pickle.dumps(parts))


def _write(folder: Path, pages: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in pages.items():
        (folder / f"{name}.py").write_text(code)
    listed = ", ".join(f"st.Page('{name}.py', title='{name.capitalize()}')" for name in pages)
    (folder / "app.py").write_text(ROUTER.format(pages=listed))
