"""tangentlm: when is fine-tuning a language model kernel regression with its eNTK?

The way of the data is one direction; a module imports only from its left:
params -> tasks -> data -> prompts -> models -> fewshot -> kernels -> solvers | training,
linearize, behavior -> records -> runs, ledger -> tables, figures -> the book.
"""

import time

STARTED = time.perf_counter()
"""When this process first imported the library: where the clock of a run's cost starts."""
