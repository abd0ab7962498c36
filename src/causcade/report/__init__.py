"""The report: one self-contained HTML page of a run, for the biologist who has to trust it.

:func:`build_report` reads the artifacts below `results/<run>/` and returns the page as text; :func:`write_report` writes it. The page asks
for nothing outside itself: style, script and data are inline, and a content security policy forbids any request.

Modules: `data` reads artifacts and makes compact JSON; `charts` describes figures; `summary`, `overview`, `embedding`, `training`, `network`,
`evaluation`, `perturbations`, `provenance` and `artifact_list` each prepare the sections of that name; `page` puts them together.
"""

from causcade.report.page import build_report, write_report

__all__ = ["build_report", "write_report"]
