"""What lies on disk: artifacts and exports, the stage cache, what may go and what must stay. No torch, no streamlit."""
