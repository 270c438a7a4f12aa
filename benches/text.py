"""Versions of real text, as people edit it: text.py DIRECTORY.

The text is the package index that apt keeps on a Debian machine, a line of JSON for each package.
"""

import gzip
import json
import random
import subprocess
import sys


def packages():
    index = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout
    for stanza in index.decode("utf-8", "replace").split("\n\n"):
        record, field = {}, None
        for line in stanza.split("\n"):
            if line[:1] in (" ", "\t") and field:
                record[field] += "\n" + line[1:]
            elif ":" in line:
                field, _, value = line.partition(":")
                record[field] = value.strip()
        if record:
            yield record


def line(record):
    return json.dumps(record, ensure_ascii=False) + "\n"


def write_arrow(path, lines):
    try:
        import pyarrow
        from pyarrow import ipc
    except ImportError:
        return
    records = [json.loads(text) for text in lines]
    numbers = ("Installed-Size", "Size")
    fields = ("Package", "Version", "Maintainer", "Architecture", "Depends", "Section", "Filename", "SHA256", "Description")
    columns = {field: [record.get(field) for record in records] for field in fields}
    columns |= {field: [int(record[field]) if field in record else None for record in records] for field in numbers}
    table = pyarrow.table(columns)
    for ending, codec in (("arrow", None), ("zstd.arrow", "zstd")):
        with ipc.new_file(f"{path}.{ending}", table.schema, options=ipc.IpcWriteOptions(compression=codec)) as out:
            out.write_table(table, 20_000)


def main(directory):
    draw = random.Random(1)
    records = list(packages())
    new = set(draw.sample(range(len(records)), len(records) // 10))
    more = [line(record) for at, record in enumerate(records) if at in new]
    records = [record for at, record in enumerate(records) if at not in new]
    first = [line(record) for record in records]
    some = set(draw.sample(range(len(first)), len(first) // 100))

    def changed(at, record):
        other = records[draw.randrange(len(records))]
        fields = ("Version", "Description", "Maintainer")
        return line(record | {field: other.get(field, "") for field in fields}) if at in some else first[at]

    by_section = sorted(range(len(first)), key=lambda at: (records[at].get("Section", ""), records[at]["Package"]))
    inserted = [text for at, own in enumerate(first) for text in ([own, more[at % len(more)]] if at in some else [own])]
    versions = {
        "append 1 %": first + more[: len(some)],
        "update 1 % of the lines, three fields": [changed(at, record) for at, record in enumerate(records)],
        "delete 1 % of the lines": [text for at, text in enumerate(first) if at not in some],
        "insert 1 % among the lines": inserted,
        "sort by other fields": [first[at] for at in by_section],
        "shuffle": draw.sample(first, len(first)),
        "a field more in each line": [line(record | {"Seen": at % 7}) for at, record in enumerate(records)],
        "another name for a field": [line({("Kind" if key == "Section" else key): value for key, value in record.items()}) for record in records],
    }

    def write(name, lines):
        with open(f"{directory}/{name}.jsonl", "w", encoding="utf-8", newline="\n") as out:
            out.writelines(lines)

    write("first", first)
    for name, lines in versions.items():
        write(name, lines)
    for name in ("first", "update 1 % of the lines, three fields", "append 1 %"):
        lines = first if name == "first" else versions[name]
        with gzip.GzipFile(f"{directory}/{name}.jsonl.gz", "wb", 6, mtime=0) as out:
            out.write("".join(lines).encode())
    for name in ("first", "update 1 % of the lines, three fields", "delete 1 % of the lines"):
        write_arrow(f"{directory}/{name}", first if name == "first" else versions[name])


main(sys.argv[1])
