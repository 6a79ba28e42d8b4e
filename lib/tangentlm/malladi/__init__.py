"""Malladi et al. (2023), "A Kernel-Based View of Language Model Fine-Tuning".

* ``measurements``: our runs in the words of the paper's tables;
* ``ledger``: every number of the paper beside ours;
* ``claims``: what the paper claims, as statements that numbers can contradict;
* ``properties``: Table 1, kernel behaviour by task and split;
* ``tables``, ``figures``: the paper's own layout, with ours beside it;
* ``setup``: tasks, prompts and grids.
"""
