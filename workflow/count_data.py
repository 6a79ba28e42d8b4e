"""Count the rows of every task whose data is at hand, into results/data/tasks.csv.

    python workflow/count_data.py

The data itself is not in the repository; the counts are, so that a page can say what was loaded.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from tangentlm.collected import results_folder
from tangentlm.data import has_rows, read_part
from tangentlm.tasks import list_tasks, load_task


def main() -> None:
    """Write the counts."""
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
            }
        )
    path = results_folder("data") / "tasks.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
