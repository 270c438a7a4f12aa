"""torchao: weights in 8 or fewer bits, without calibration."""

import os

from protocol import device, mark, marked, plain, serve


def config(method, settings):
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    if method == "int8_weight_only":
        return Int8WeightOnlyConfig()
    kind = getattr(torch, f"int{settings['bits']}")
    return IntxWeightOnlyConfig(weight_dtype=kind, granularity=PerGroup(settings["group_size"]))


def quantize(source, target, method, settings, text):
    import torch
    from torchao.quantization import quantize_

    model = plain(source)
    quantize_(model, config(method, settings))
    torch.save(model.state_dict(), os.path.join(target, "model.pt"))
    model.config.save_pretrained(target)
    mark(target, method=method, settings=settings)


def load(directory):
    import torch
    from torchao.quantization import quantize_
    from transformers import AutoConfig, AutoModelForCausalLM

    facts = marked(directory)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory))
    quantize_(model, config(facts["method"], facts["settings"]))
    # The file is one that this adapter wrote a moment ago.
    state = torch.load(os.path.join(directory, "model.pt"), weights_only=False)
    model.load_state_dict(state, assign=True)
    return model.eval().to(device())


if __name__ == "__main__":
    serve("torchao", ["int8_weight_only", "intx_weight_only"], quantize, load)
