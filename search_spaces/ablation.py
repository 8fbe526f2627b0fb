"""The paper's ablations: one switch at a time, from M3N15 and from M3N21.

The paper reports surrounding context, global context, input injection and the activation for
M3N15, the residual and the 1x1 convolutions for M3N21; here both depths have all of them. With 11
classes the networks have 386 k to 703 k parameters: give `--budget 0.75M` to have them all.
"""

from pipeline.core.space import SearchSpace

SPACE = SearchSpace(
    name="ablation",
    choices={
        "num_blocks_3": (15, 21),
        "variant": {
            "as in the paper": {},
            "no surrounding context": {"surround": "none"},
            "surrounding context last": {"surround": "last"},
            "no global context": {"global_context": False},
            "no input injection": {"input_injection": False},
            "ReLU": {"activation": "relu"},
            "local residual": {"residual": "local"},
            "no residual": {"residual": "none"},
            "1x1 after channel-wise": {"pointwise": True},
        },
    },
)
