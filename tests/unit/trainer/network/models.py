"""Every network that a spec can ask for, small."""

from typing import Any

from hypothesis import strategies as st

from trainer.contract.model_spec import ModelSpec


@st.composite
def models(draw: st.DrawFn, /, **fixed: Any) -> ModelSpec:
    """Draw one of any combination of ablations, in either recipe: eighth width, 10 classes."""
    towers = draw(st.sampled_from([1, 2]))
    dropout = draw(st.booleans())
    fields = {
        "recipe": draw(st.sampled_from(["paper", "source2012"])),
        "width": 0.125,
        "num_classes": 10,
        # 36 is the least that a spec may have; the last maps have edges of 1, of 1 and of 2.
        "input_size": draw(st.sampled_from([36, 64, 80])),
        "towers": towers,
        "column_communication": towers == 1 or draw(st.booleans()),
        "removed_layer": draw(st.sampled_from([None, "conv2", "conv3", "conv4", "conv5"])),
        "sixth_conv": draw(st.booleans()),
        "activation": draw(st.sampled_from(["relu", "tanh"])),
        "lrn": draw(st.booleans()),
        "overlapping_pool": draw(st.booleans()),
        "dropout": dropout,
        "inverted_dropout": dropout and draw(st.booleans()),
        "init": "variance_preserving",
    }
    return ModelSpec.model_validate({**fields, **fixed})
