"""The demo's picture of the cluster: watts over time under the cap, and the jobs."""

CHART_ROWS = 8
CHART_COLUMNS = 72
BAR_COLUMNS = 20


class Paint:
    """Colours, where there is somebody to see them."""

    def __init__(self, is_terminal: bool):
        self.is_terminal = is_terminal

    def __call__(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.is_terminal else text

    def bold(self, text: str) -> str:
        return self("1", text)

    def drawn(self, text: str) -> str:
        return self("32", text)

    def planned(self, text: str) -> str:
        return self("2", text)

    def cap(self, text: str) -> str:
        return self("31", text)


def thinned(samples: list, columns: int) -> list:
    """All of them, or `columns` of them, evenly spread, the newest one last."""
    if len(samples) <= columns:
        return samples
    return [samples[(i + 1) * len(samples) // columns - 1] for i in range(columns)]


def cell(sample: dict, low: float, high: float, paint: Paint) -> str:
    """What stands between two heights (in watts) of the chart."""
    middle = (low + high) / 2
    if low < sample["hard_watts"] <= high:
        return paint.cap("▔")
    if sample["watts"] >= middle:
        return paint.drawn("█")
    return paint.planned("░") if sample["limit_watts"] >= middle else " "


def chart(samples: list, paint: Paint) -> list:
    """Lines; the highest one begins with the highest cap."""
    top = max(sample["hard_watts"] for sample in samples)
    shown = thinned(samples, CHART_COLUMNS)
    lines = []
    for row in range(CHART_ROWS, 0, -1):
        low, high = top * (row - 1) / CHART_ROWS, top * row / CHART_ROWS
        cells = "".join(cell(sample, low, high, paint) for sample in shown)
        lines.append(f"{high:5.0f} W │{cells}")
    return lines + ["      0 └" + "─" * CHART_COLUMNS]


def bar(share: float, paint: Paint) -> str:
    full = round(BAR_COLUMNS * min(1.0, share))
    return paint.drawn("█" * full) + paint.planned("░" * (BAR_COLUMNS - full))


def job_line(job: dict, paint: Paint) -> str:
    share = job.get("units_done", 0) / job["units"] if job.get("units") else 0
    state = job["state"].lower()
    if job["state"] == "RUNNING":
        watts = job.get("limit_watts", 0) * job.get("ranks", 0)
        detail = f"{job.get('watts', 0):3.0f} of {watts:3.0f} W  on {' '.join(job['nodes'])}"
    else:
        detail = job.get("reason", "")
    return (f"{job['job']:>3} {job['name']:<12} {job['tenant']:<7} {state:<10} "
            f"{bar(share, paint)} {100 * share:3.0f} %  {detail}")


def picture_of(samples: list, began: float, paint: Paint) -> list:
    """The lines of the picture after the newest of the samples."""
    newest = samples[-1]
    seconds = int(newest["time"] - began)
    legend = (f"{paint.cap('▔')} cap {newest['hard_watts']:.0f} W   "
              f"{paint.planned('░')} planned {newest['limit_watts']:.0f} W   "
              f"{paint.drawn('█')} drawn {newest['watts']:.0f} W")
    return [f"{paint.bold('Wattle: three nodes, six jobs, one cap')}   "
            f"{seconds // 60}:{seconds % 60:02}   {legend}", "",
            *chart(samples, paint), "",
            *(job_line(job, paint) for job in newest["jobs"])]
