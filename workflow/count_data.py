"""Count the rows of every task whose data is at hand, into results/data/tasks.csv.

    python workflow/count_data.py

The data itself is not in the repository; the counts are, so that a page can say what was loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from tangentlm.params import TaskRun, load_study
from tangentlm.studies.collect import results_folder
from tangentlm.tasks import Example, has_rows, list_tasks, load_split, load_task, read_part

STUDY = "pocket"
"""The study whose test rows are counted by label."""


def main() -> None:
    """Write the counts."""
    test_size = max(run.test_size for run in load_study(STUDY) if isinstance(run, TaskRun))
    rows = []
    for task in map(load_task, list_tasks()):
        if not has_rows(task):
            print(f"{task.name}: no data at hand, left out")
            continue
        train, test = (read_part(task, part) for part in ("train", "test"))
        rows.append(
            {
                "task": task.name,
                "train": len(train),
                "test": len(test),
                "smallest_class": min(Counter(row.label for row in train).values()),
                "most_frequent": most_frequent(load_split(task, 1, 13, test_size=test_size).test),
            }
        )
    path = results_folder("data") / "tasks.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    print(f"wrote {path}")


def most_frequent(rows: Sequence[Example]) -> float:
    """The share of the most frequent label, in percent: the accuracy of always answering it."""
    return 100 * max(Counter(row.label for row in rows).values()) / len(rows)


if __name__ == "__main__":
    main()
