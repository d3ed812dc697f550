"""The report room: one self-contained HTML page over what a run left on disk. No torch.

write_report("runs/demo", "runs/demo/report.html")
"""

from radvqa.report.page import write_report

__all__ = ["write_report"]
