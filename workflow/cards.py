"""Write the measured facts into the data cards of the bundled tasks (``assets/tasks/*/README.md``).

Class balance, lengths, and two baselines that read the training part and are scored on the test
part: always the most frequent label, and logistic regression on word counts.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import mean

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tangentlm.params import project_root
from tangentlm.tasks import Example, Task, list_tasks, load_task, read_part

BEGIN, END = "<!-- facts:begin -->", "<!-- facts:end -->"


def bundled_tasks() -> list[Task]:
    """The tasks that the project ships."""
    return [task for task in map(load_task, list_tasks()) if task.bundled]


def text_of(example: Example) -> str:
    """All text of an example."""
    return f"{example.text_a} {example.text_b or ''}".strip()


def baselines(train: list[Example], test: list[Example]) -> tuple[float, float]:
    """Test accuracy in percent of the majority label and of logistic regression on word counts."""
    labels = np.array([example.label for example in test])
    most = Counter(example.label for example in train).most_common(1)[0][0]
    words = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000))
    words.fit(list(map(text_of, train)), [example.label for example in train])
    predicted = words.predict(list(map(text_of, test)))
    return 100 * float((labels == most).mean()), 100 * float((labels == predicted).mean())


def facts(task: Task) -> str:
    """The facts of a task as a Markdown table."""
    parts = {name: read_part(task, name) for name in ("train", "test")}
    lines = ["| | train | test |", "|---|---|---|"]
    lines.append("| examples | " + " | ".join(str(len(part)) for part in parts.values()) + " |")
    for label, name in enumerate(task.labels):
        counts = [sum(row.label == label for row in part) for part in parts.values()]
        lines.append(f"| {label} ({name}) | {counts[0]} | {counts[1]} |")
    lengths = [[len(text_of(row).split()) for row in part] for part in parts.values()]
    shown = [f"{mean(part):.1f} ({min(part)} to {max(part)})" for part in lengths]
    lines.append(f"| words, mean (range) | {shown[0]} | {shown[1]} |")
    majority, words = baselines(parts["train"], parts["test"])
    lines.append(f"| accuracy of the majority label (%) | | {majority:.1f} |")
    lines.append(f"| accuracy of bag of words, logistic regression (%) | | {words:.1f} |")
    return "\n".join(lines)


def card(task: Task) -> Path:
    """A task's data card."""
    return project_root() / "assets" / "tasks" / task.name / "README.md"


def with_facts(text: str, table: str) -> str:
    """The card's text with the table between its markers."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    """Bring every card up to date."""
    for task in bundled_tasks():
        path = card(task)
        text = with_facts(path.read_text(encoding="utf-8"), facts(task))
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
