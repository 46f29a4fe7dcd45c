"""Exporters: each writes an artifact in the form of another ecosystem.

An exporter is a function registered under kind "exporter", with

    write(artifact: Artifact, folder: Path, options) -> Written

that writes weights and config into `folder`, and the facts `needs` (modules its consumer imports),
`consumer` (who loads it back), `tolerance` (relative L2 error of the logits, at most), `library`
(for the model card) and `refuse(artifact, options)`: one sentence on why an artifact cannot take
this form, empty if it can; asked before any work.
"""
