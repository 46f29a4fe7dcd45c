"""The web pages' parts; the only package that imports streamlit and plotly."""
