import csv
import json

from mdpo_core import Tracker, hookimpl


class Csv(Tracker):
    """Writes metrics.csv for spreadsheets when the run ends or stops: a row for each step, a column for each metric."""

    def start(self, folder):
        return CsvLog(folder)


class CsvLog:
    """Made of metrics.jsonl, so that a resumed run is there whole, and no step twice."""

    def __init__(self, folder):
        self.folder = folder

    def log(self, step, metrics):
        pass

    def close(self):
        source = self.folder / "metrics.jsonl"
        steps = {}
        for line in source.read_text().splitlines() if source.exists() else ():
            record = json.loads(line)
            steps.setdefault(record["step"], {}).update(record)
        names = dict.fromkeys(name for record in steps.values() for name in record)
        with (self.folder / "metrics.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(names))
            table.writeheader()
            table.writerows(steps.values())


@hookimpl
def mdpo_components():
    return {"csv": Csv}
