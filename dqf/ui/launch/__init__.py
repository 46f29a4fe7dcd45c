"""The launch page: form, estimate, sources of models and tasks."""
