"""optimum-quanto: weights in 8 or 4 bits, without calibration. 4 bits compile C++ at first use: `ninja` must be on PATH."""

import os

from protocol import device, mark, marked, plain, serve


def quantised(model, method):
    from optimum.quanto import freeze, qint4, qint8, quantize as replace

    replace(model, weights={"int8": qint8, "int4": qint4}[method], exclude="lm_head")
    freeze(model)


def quantize(source, target, method, settings, text):
    import torch

    model = plain(source)
    quantised(model, method)
    torch.save(model.state_dict(), os.path.join(target, "model.pt"))
    model.config.save_pretrained(target)
    mark(target, method=method)


def load(directory):
    import torch
    from optimum.quanto import freeze, qint4, qint8, quantize as replace
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory))
    replace(model, weights={"int8": qint8, "int4": qint4}[marked(directory)["method"]], exclude="lm_head")
    # The file is one that this adapter wrote a moment ago.
    model.load_state_dict(torch.load(os.path.join(directory, "model.pt"), weights_only=False), assign=True)
    freeze(model)
    return model.eval().to(device())


if __name__ == "__main__":
    serve("optimum-quanto", ["int8", "int4"], quantize, load)
