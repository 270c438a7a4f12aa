"""Records what the adapters of outside tools are asked and answer: `python make.py hqq=/opt/venv bitsandbytes=/opt/venv …`

One file for each tool beside this script: a line `{"asked": …}` and a line `{"answered": …}` in turn, with SOURCE, TARGET and
TEXT in place of paths. The model is `../models/tiny-sft-f32`. `src/optimize/outside/tests.rs` replays them.
"""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ADAPTERS = os.path.join(HERE, "..", "..", "..", "adapters")
SOURCE = os.path.join(HERE, "..", "models", "tiny-sft-f32")
TEXT = os.path.join(HERE, "..", "models", "heldout-rust-book.txt")
TOKENS = [(7 * at * at + 13 * at + 5) % 2048 for at in range(48)]
METHODS = {
    "bitsandbytes": [("int8", {}), ("nf4", {})],
    "gptqmodel": [("gptq", {"bits": 4, "group_size": 32}), ("awq", {"bits": 4, "group_size": 32})],
    "hqq": [("hqq", {"bits": 4, "group_size": 64})],
    "quanto": [("int8", {})],
    "torchao": [("int8_weight_only", {})],
}


def record(name, venv):
    environment = dict(os.environ, HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    with tempfile.TemporaryDirectory() as scratch:
        # Not under the tool's own name: Python would import the script in its place.
        for file in ("protocol.py", name + ".py"):
            with open(os.path.join(ADAPTERS, file)) as source:
                text = source.read()
            with open(os.path.join(scratch, file if file == "protocol.py" else "adapter_" + file), "w") as copy:
                copy.write(text)
        script = os.path.join(scratch, f"adapter_{name}.py")
        tool = subprocess.Popen(
            [os.path.join(venv, "bin", "python"), script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        lines = []

        def ask(question):
            tool.stdin.write(json.dumps(question) + "\n")
            tool.stdin.flush()
            answer = tool.stdout.readline()
            said = json.dumps({"asked": question}), json.dumps({"answered": json.loads(answer)})
            for line in said:
                for path, placeholder in ((SOURCE, "SOURCE"), (TEXT, "TEXT"), (scratch, "TARGET")):
                    line = line.replace(path, placeholder)
                lines.append(line)
            return json.loads(answer)

        ask({"probe": {}})
        for number, (method, settings) in enumerate(METHODS[name]):
            target = os.path.join(scratch, str(number))
            question = {"source": SOURCE, "target": target, "method": method, "settings": settings, "text": TEXT}
            if "failed" in ask({"quantize": question}):
                continue
            for model in (target, SOURCE):
                ask({"logprobs": {"model": model, "tokens": TOKENS, "scored_from": 16}})
        tool.stdin.close()
        tool.wait()
    with open(os.path.join(HERE, name + ".jsonl"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print(name, len(lines) // 2, "questions")


for wanted in sys.argv[1:]:
    record(*wanted.split("=", 1))
