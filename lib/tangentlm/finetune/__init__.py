"""Fine-tuning, and how far it is from its kernel.

* ``loop``: one fine-tuning, with the checkpoint that is best on dev;
* ``search``: a grid of them from one start;
* ``optimizers``: SGD, Adam, SignGD;
* ``adaptation``: what moves: all parameters, LoRA's, or a random subspace;
* ``taylor``: the first-order Taylor model around the pre-trained parameters;
* ``trajectory``: kernel behaviour at every evaluation;
* ``behavior``: one model, one task: does fine-tuning behave like its kernel?
"""
