"""What anticipates fine-tuning: quantities known before it, beside what it reaches.

* ``predictors``: every predictor by name, and all of them at once;
* ``centred``, ``spectrum``, ``labels``: predictors of a kernel;
* ``features``, ``source_labels``: predictors of a model's features and of its own labels.
* ``outcomes``: the records of the study as one table;
* ``cells``, ``comparing``: each predictor's rank correlation with each outcome, and its verdict;
* ``ceilings``: what noise leaves to be known, the regret of choosing, the control;
* ``across``: the tasks of one model;
* ``printed``: the paper's own table by the same rule;
* ``sensitivity``, ``words``: other ways to look, and what is said.
"""
