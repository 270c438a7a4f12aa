"""HQQ: half-quadratic quantisation, without calibration.

The layers are replaced here: through transformers 5 it is not available.
"""

import os

from protocol import device, mark, marked, plain, serve


def layers(model):
    import torch

    for name, module in model.named_modules():
        for child_name, child in module.named_children():
            path = f"{name}.{child_name}".lstrip(".")
            if isinstance(child, torch.nn.Linear) and "lm_head" not in path:
                yield module, child_name, path, child


def replace(model, settings, states=None):
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    config = BaseQuantizeConfig(nbits=settings["bits"], group_size=settings["group_size"])
    for module, name, path, layer in list(layers(model)):
        args = {"compute_dtype": torch.float32, "device": device()}
        if states is None:
            new = HQQLinear(layer, config, **args)
        else:
            new = HQQLinear(None, config, **args)
            new.load_state_dict(states.pop(path))
        setattr(module, name, new)


def quantize(source, target, method, settings, text):
    import torch
    from hqq.core.quantize import HQQLinear

    model = plain(source)
    replace(model, settings)
    quantised = {name: module.state_dict() for name, module in model.named_modules() if isinstance(module, HQQLinear)}
    rest = {
        name: value for name, value in model.state_dict().items()
        if not any(name.startswith(path + ".") for path in quantised)
    }
    if getattr(model.config, "tie_word_embeddings", False):
        rest.pop("lm_head.weight", None)
    torch.save({"layers": quantised, "rest": rest}, os.path.join(target, "model.pt"))
    model.config.save_pretrained(target)
    mark(target, settings=settings)


def load(directory):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    # The file is one that this adapter wrote a moment ago.
    state = torch.load(os.path.join(directory, "model.pt"), weights_only=False)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory))
    replace(model, marked(directory)["settings"], state["layers"])
    model.load_state_dict(state["rest"], strict=False)
    model.tie_weights()
    return model.eval().to(device())


if __name__ == "__main__":
    serve("hqq", ["hqq"], quantize, load)
