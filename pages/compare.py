from dqf.ui import components

components.start_page("compare")
