"""Two versions of a small table as pyarrow and Polars write them: make.py, in this directory. Needs both."""

import random

import polars
import pyarrow as pa
import pyarrow.ipc as ipc

draw = random.Random(1)
words = "data set of rows and columns that has many versions each with some lines changed".split()
names = [" ".join(draw.choice(words) for _ in range(3)) for _ in range(2000)]
sizes = [draw.randrange(1 << 20) for _ in names]


def table(names, sizes):
    kinds = pa.array([name.split()[0] for name in names]).dictionary_encode()
    lists = pa.array([[size % 7] * (size % 3) for size in sizes], pa.list_(pa.int32()))
    weights = pa.array([size / 3 if size % 5 else None for size in sizes], pa.float32())
    return pa.table({"name": names, "size": pa.array(sizes, pa.int64()), "kind": kinds, "list": lists, "weight": weights})


def write(number, table):
    polars.from_arrow(table.drop_columns("kind")).write_ipc(f"polars-{number}.arrow")
    with ipc.new_file(f"plain-{number}.arrow", table.schema) as out:
        out.write_table(table, 1000)
    for codec in ["zstd", "lz4"]:
        with ipc.new_file(f"{codec}-{number}.arrow", table.schema, options=ipc.IpcWriteOptions(compression=codec)) as out:
            out.write_table(table)


write(1, table(names, sizes))
with ipc.new_stream("stream-1.arrow", table(names, sizes).schema) as out:
    out.write_table(table(names, sizes), 1000)
gone = set(draw.sample(range(len(names)), 20))
write(2, table(*([value for at, value in enumerate(column) if at not in gone] for column in (names, sizes))))
