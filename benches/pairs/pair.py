"""A pair: the file of a base and the file of what was made of it, told by how far they are apart."""

from safetensors import safe_open
from safetensors.torch import save_file


def path(folder, name):
    return folder / f"{name}.safetensors"


def save(folder, name, tensors, dtype):
    """Writes a model whole or not at all, its floats as `dtype`."""
    cast = {
        key: value.detach().to(dtype if value.is_floating_point() else value.dtype).contiguous()
        for key, value in tensors.items()
    }
    unfinished = folder / f"{name}.unfinished"
    save_file(cast, unfinished)
    unfinished.rename(path(folder, name))
    print(f"made {name}", flush=True)


def load(folder, name):
    with safe_open(path(folder, name), "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


def missing(folder, *names):
    return any(not path(folder, name).exists() for name in names)


def write_table(folder, name, heads, rows):
    """Prints a table of the pairs or chains whose files are there, and writes it."""
    lines = ["\t".join([*heads, "sigma", "equal"])]
    for row in rows:
        if not missing(folder, *row):
            sigma, equal = difference(folder, *row[-2:])
            lines.append("\t".join([*row, f"{sigma:.2e}", f"{equal:.4f}"]))
    table = "\n".join(lines) + "\n"
    (folder / f"{name}.tsv").write_text(table)
    print(table, end="")


def difference(folder, base, target):
    """The standard deviation of target − base, and the share of weights that are equal."""
    before, after = load(folder, base), load(folder, target)
    count = total = squares = equal = 0
    for name, tensor in after.items():
        delta = tensor.double() - before[name].double()
        count += delta.numel()
        total += delta.sum().item()
        squares += delta.square().sum().item()
        equal += (delta == 0).sum().item()
    return (squares / count - (total / count) ** 2) ** 0.5, equal / count
