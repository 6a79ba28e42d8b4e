"""Rahimi Afzal et al. (2024), "Can the Spectrum of the Neural Tangent Kernel Anticipate ...".

* ``condition``: the condition number of a kernel, with every choice that the paper leaves open;
* ``pads``: padding that the model does not see, reads, or reads embedded twice;
* ``live_dropout``: the kernel while LoRA's dropout is live;
* ``pools``: samples, and a model with LoRA and a random head;
* ``theorem``: Theorem 1 as printed, and how often it fails;
* ``measurements``: our runs in the words of the paper's tables;
* ``fine_tunings``: our fine-tunings at the choices of layers that stand for the paper's;
* ``padding``: the paper's tasks by how padding is treated;
* ``ledger``: every number of the paper beside ours;
* ``evidence``: what the paper's own Table 1 says;
* ``claims``: what the paper claims, with verdicts;
* ``tables``: the paper's tables and figure in their own layout, with ours beside it.
"""
