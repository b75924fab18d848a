from harness.report import Report
def draw(report: Report) -> str:
    return ""
