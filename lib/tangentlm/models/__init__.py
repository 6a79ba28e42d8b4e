"""Models: from a checkpoint to ``model(**batch) -> (N, C)``.

* ``checkpoints``: where a pre-trained model is, and what makes it unfit;
* ``packages``: models whose weights come inside a Python package;
* ``asking``: a task as the kind of a model is asked;
* ``tokenizers``: the project's own tokenizers;
* ``heads``: label words at the mask, or a linear layer on the first token;
* ``parts``: the parameters of a part of a model, and a decoder untied from the embedding;
* ``linear_probe``: the linear layer at the best linear classifier of the features;
* ``logits``: the logits of many rows;
* ``double_precision``: a model in float64 throughout, for exact checks;
* ``few_shot``: a task and a model together, ready to compute with.

Nothing is imported here: finding a checkpoint must not cost the import of torch.
"""
