"""GPTQModel: GPTQ and AWQ, calibrated on a text."""

import os

# On two processors its pool asks a parent with one worker for two.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

from protocol import device, mark, passages, serve


def quantize(source, target, method, settings, text):
    from gptqmodel import GPTQModel, QuantizeConfig

    config = QuantizeConfig(bits=settings["bits"], group_size=settings["group_size"], quant_method=method)
    model = GPTQModel.load(source, config)
    calibration = [{"input_ids": part, "attention_mask": [1] * len(part)} for part in passages(text, source)]
    here, target = os.getcwd(), os.path.abspath(target)
    # It writes a folder of logs where it stands.
    os.chdir(target)
    try:
        model.quantize(calibration, batch_size=1)
    finally:
        os.chdir(here)
    model.save(target)
    mark(target, method=method)


def load(directory):
    from gptqmodel import BACKEND, GPTQModel

    # Its fast kernels for processors refuse layers whose sides are no multiples of theirs; torch's own takes all.
    return GPTQModel.load(directory, backend=BACKEND.AUTO if device() == "cuda" else BACKEND.TORCH)


if __name__ == "__main__":
    serve("gptqmodel", ["gptq", "awq"], quantize, load)
