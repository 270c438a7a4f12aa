"""bitsandbytes: NF4, FP4 and INT8, without calibration."""

from protocol import device, mark, serve


def quantize(source, target, method, settings, text):
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if method == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=method)
    # Without a map the 4-bit kernels want a GPU.
    model = AutoModelForCausalLM.from_pretrained(
        source, quantization_config=config, device_map=device(), dtype=torch.float32
    )
    model.save_pretrained(target)
    mark(target, method=method)


def load(directory):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, device_map=device()).eval()


if __name__ == "__main__":
    serve("bitsandbytes", ["nf4", "fp4", "int8"], quantize, load)
