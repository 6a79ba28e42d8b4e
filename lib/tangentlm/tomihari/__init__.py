"""Tomihari and Sato (2024), "Understanding Linear Probing then Fine-tuning Language Models".

* ``features``: CS, Diff and FDR, what the paper measures of features;
* ``calibration``: ECE and MCE, without and with temperature scaling;
* ``trace``: what is looked at after every epoch of a fine-tuning;
* ``components``: P, F and their sum as kernels: rank, norm, kernel regression, FT ratio;
* ``measurements``: our runs in the words of the paper's tables;
* ``claim``, ``statistics``, ``compared``, ``statements``, ``claims``: what the paper claims, as
  statements that numbers can contradict; ``learned``: where a method learns at all;
* ``shares``, ``words``: how much of its main claim is norm, direction and rate, and how to say it;
* ``ledger``, ``tables``: every number of the paper beside ours.
"""
