"""Write the histogram of a task's prompted lengths: numbers of tokens, no texts.

    python benchmarks/lengths.py sst2 --data /path/to/data

The prompt is the task's own, the tokenizer that of the bundled model ``pocket``. The file lies
beside this script, and ``setting`` draws its samples' lengths from it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from tangentlm.models.checkpoints import load_tokenizer
from tangentlm.tasks import DATA_VARIABLE, load_task, read_part
from tangentlm.tasks.prompts import encode_prompts

TOKENIZER = "pocket"
PARTS = ("train", "test")


def histogram(task_name: str, part: str, data: str | None) -> dict[str, int]:
    """How many rows of a part have each length.

    Args:
        task_name: A task of ``params/tasks``.
        part: ``"train"`` or ``"test"``.
        data: The data folder; ``None`` means the variable ``TANGENTLM_DATA``.

    Returns:
        Length to number of rows, the shortest first.
    """
    task = load_task(task_name)
    batch = encode_prompts(task, load_tokenizer(TOKENIZER), read_part(task, part, data))
    counts = Counter(batch["attention_mask"].sum(dim=1).tolist())
    return {str(length): counts[length] for length in sorted(counts)}


def main() -> None:
    """Write one task's file."""
    parser = argparse.ArgumentParser(description="Write the histogram of a task's lengths.")
    parser.add_argument("task")
    parser.add_argument("--data", help=f"the data folder (default: {DATA_VARIABLE})")
    given = parser.parse_args()
    found = {part: histogram(given.task, part, given.data) for part in PARTS}
    about = f"rows by number of prompted tokens; task {given.task}, tokenizer {TOKENIZER}"
    path = Path(__file__).parent / f"{given.task}_lengths.json"
    path.write_text(json.dumps({"about": about, **found}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
