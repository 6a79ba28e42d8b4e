"""Rahimi Afzal et al. (2024), "Can the Spectrum of the Neural Tangent Kernel Anticipate ...".

* ``condition``: the condition number of a kernel, with every choice that the paper leaves open;
* ``pools``: samples, and a model with LoRA and a random head;
* ``theorem``: Theorem 1 as printed, and how often it fails;
* ``measurements``: our runs in the words of the paper's tables;
* ``ledger``: every number of the paper beside ours;
* ``claims``: what the paper claims, and what its own table and our runs say;
* ``tables``, ``figures``: the paper's own layout, with ours beside it.
"""
