"""What anticipates fine-tuning: quantities known before it, beside what it reaches.

* ``predictors``: every predictor by name, and all of them at once;
* ``centred``, ``spectrum``, ``labels``: predictors of a kernel;
* ``features``, ``source_labels``: predictors of a model's features and of its own labels.
"""
