#!/usr/bin/env python3
"""Writes tables in two versions as one of the writers that people have, for tests/table/writers.rs:

    python tests/table/writers.py WRITER OUT_DIR [SEED]

OUT_DIR/NAME-1.EXT is a table and NAME-2.EXT the same after corrections: some cells changed, rows gone, rows new. WRITER is pyarrow,
pandas, polars, duckdb, fastparquet, datasets or texts. Versions that are known to work: xtask/src/table_writers.rs.
"""

import datetime
import decimal
import gzip
import json
import math
import random
import sys
from pathlib import Path

ROWS = 3000
GROUP_ROWS = 1300
BERLIN = "Europe/Berlin"
EPOCH = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
REALS = [math.nan, -0.0, 0.0, math.inf, -math.inf, 5e-324, 1.5]


class Tables:
    """The rows of both versions, as dictionaries of Python's own values."""

    def __init__(self, seed, rows=ROWS):
        self.random = random.Random(seed)
        self.words = ["".join(self.random.choices("abcdefgh äß漢", k=self.random.randint(1, 9))) for _ in range(60)]
        self.first = [self.row(number) for number in range(rows)]
        for _ in range(rows // 50):  # some rows are there twice
            self.first[self.random.randrange(rows)] = dict(self.random.choice(self.first)) if rows else {}
        self.second = self.corrected()

    def maybe(self, make, share=0.15):
        return None if self.random.random() < share else make()

    def text(self):
        words = self.random.choices(self.words, k=self.random.choice([0, 1, 2, 8] + ([400] if self.random.random() < 0.02 else [])))
        return " ".join(words) + self.random.choice(["", ".", str(self.random.randrange(10**6))])

    def row(self, number):
        any_ = self.random
        point = lambda: {"a": any_.randrange(50), "b": self.maybe(any_.random)}
        seconds = datetime.timedelta(seconds=any_.randrange(10**7), microseconds=any_.randrange(10**6))
        return {
            "id": number,
            "small": self.maybe(lambda: any_.randrange(-100, 100)),
            "word": self.maybe(lambda: any_.choice(self.words)),
            "text": self.text(),
            "real": self.maybe(lambda: any_.choice(REALS) if any_.random() < 0.2 else any_.gauss(0, 1)),
            "single": any_.randrange(1000) / 8,
            "flag": self.maybe(lambda: any_.random() < 0.9),
            "sure": any_.random() < 0.5,
            "price": self.maybe(lambda: decimal.Decimal(any_.randrange(-10**9, 10**9)).scaleb(-2)),
            "huge": decimal.Decimal(any_.randrange(-10**30, 10**30)).scaleb(-10),
            "day": self.maybe(lambda: (EPOCH + datetime.timedelta(days=any_.randrange(900))).date()),
            "at": self.maybe(lambda: EPOCH + seconds),
            "raw": self.maybe(lambda: any_.randbytes(any_.randrange(12))),
            "digest": any_.randbytes(16),
            "kind": any_.choice(["train", "test", "dev"]),
            "tags": self.maybe(lambda: [self.maybe(lambda: any_.choice(self.words)) for _ in range(any_.randrange(4))]),
            "grid": [[any_.randrange(9) for _ in range(any_.randrange(3))] for _ in range(any_.randrange(3))],
            "place": self.maybe(lambda: {"x": any_.randrange(1000), "y": {"z": self.maybe(lambda: any_.choice(self.words))}}),
            "points": self.maybe(lambda: [point() for _ in range(any_.randrange(3))]),
            "same": "constant",
            "none": None,
        }

    def corrected(self):
        rows = [dict(row) for row in self.first]
        for at in self.random.sample(range(len(rows)), len(rows) // 100):
            other = self.row(rows[at]["id"])
            for name in ("word", "real", "price"):
                rows[at][name] = other[name]
        gone = set(self.random.sample(range(len(rows)), len(rows) // 200))
        rows = [row for at, row in enumerate(rows) if at not in gone]
        return rows + [self.row(ROWS + number) for number in range(len(self.first) // 100)]


def both(seed, rows=ROWS):
    tables = Tables(seed, rows)
    return [(1, tables.first), (2, tables.second)]


def schema():
    import pyarrow as pa

    point = pa.struct([("a", pa.int32()), ("b", pa.float64())])
    return pa.schema([
        pa.field("id", pa.int64(), nullable=False),
        ("small", pa.int8()), ("word", pa.string()), ("text", pa.string()), ("real", pa.float64()),
        ("single", pa.float32()), ("flag", pa.bool_()), pa.field("sure", pa.bool_(), nullable=False),
        ("price", pa.decimal128(12, 2)), ("huge", pa.decimal128(38, 10)), ("day", pa.date32()),
        ("at", pa.timestamp("us", BERLIN)), ("raw", pa.binary()), ("digest", pa.binary(16)),
        ("kind", pa.dictionary(pa.int8(), pa.string())), ("tags", pa.list_(pa.string())),
        ("grid", pa.list_(pa.list_(pa.int16()))),
        ("place", pa.struct([("x", pa.int32()), ("y", pa.struct([("z", pa.string())]))])),
        ("points", pa.list_(point)), ("same", pa.string()), ("none", pa.null()),
    ])


def arrow(rows):
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=schema())


def pyarrow_files(folder, seed):
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet as pq

    ways = {
        "snappy": {"compression": "snappy"},
        "zstd": {"compression": "zstd"},
        "zstd-9": {"compression": "zstd", "compression_level": 9},
        "gzip": {"compression": "gzip"},
        "lz4": {"compression": "lz4"},
        "none": {"compression": "none"},
        "brotli": {"compression": "brotli"},
        "v2": {"data_page_version": "2.0", "compression": "zstd"},
        "v2-snappy": {"data_page_version": "2.0", "data_page_size": 1000, "write_batch_size": 64},
        "plain": {"use_dictionary": False},
        "old": {"version": "1.0", "use_deprecated_int96_timestamps": True},
        "pages": {"data_page_size": 2000, "write_batch_size": 64},
        "short-dictionary": {"dictionary_pagesize_limit": 300, "write_batch_size": 64, "data_page_size": 500},
        "index": {"write_page_index": True, "write_page_checksum": True, "data_page_size": 2000,
                  "bloom_filter_options": {"word": {"ndv": 100, "fpp": 0.01}}},
        "chunked": {"use_content_defined_chunking": True},
        "integers": {"store_decimal_as_integer": True},
        "some": {"use_dictionary": ["word", "kind"], "compression": {"word": "zstd", "text": "gzip"}},
    }
    for version, rows in both(seed):
        table = arrow(rows)
        for name, way in ways.items():
            pq.write_table(table, folder / f"pyarrow-{name}-{version}.parquet", row_group_size=GROUP_ROWS, **way)
        # What only other encodings give: not replayed, and back all the same.
        few = table.select(["id", "single", "text"])
        encodings = {"id": "DELTA_BINARY_PACKED", "single": "BYTE_STREAM_SPLIT", "text": "DELTA_BYTE_ARRAY"}
        pq.write_table(few, folder / f"other-encodings-{version}.parquet", use_dictionary=False, column_encoding=encodings)
        for name, keyed in {"footer": {"plaintext_footer": False}, "columns": {"plaintext_footer": True}}.items():
            pq.write_table(table, folder / f"encrypted-{name}-{version}.parquet", row_group_size=GROUP_ROWS,
                           encryption_properties=encrypted(**keyed))
        for name, compression in {"plain": "uncompressed", "lz4": "lz4", "zstd": "zstd"}.items():
            pyarrow.feather.write_feather(table, folder / f"arrow-{name}-{version}.arrow", compression, chunksize=GROUP_ROWS)
        with pa.ipc.new_stream(folder / f"arrow-stream-{version}.arrows", table.schema) as stream:
            stream.write_table(table, max_chunksize=GROUP_ROWS)
    for version, rows in both(seed, 0):
        pq.write_table(arrow(rows), folder / f"empty-pyarrow-{version}.parquet")


def encrypted(plaintext_footer):
    """Encrypted with keys of a key management service that is this function."""
    import base64

    import pyarrow.parquet.encryption as pe

    class Keys(pe.KmsClient):
        def wrap_key(self, key, name):
            return base64.b64encode(key)

        def unwrap_key(self, key, name):
            return base64.b64decode(key)

    configuration = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"column": ["word", "text", "real"]}, plaintext_footer=plaintext_footer)
    connection = pe.KmsConnectionConfig()
    return pe.CryptoFactory(lambda _: Keys()).file_encryption_properties(connection, configuration)


def flat(rows):
    """As pandas has it, without what its other writer does not know."""
    import pandas

    data = pandas.DataFrame(rows).drop(columns=["tags", "grid", "place", "points", "none", "price", "huge", "digest"])
    data["kind"] = data["kind"].astype("category")
    data["at"] = pandas.to_datetime(data["at"], utc=True)
    data["day"] = pandas.to_datetime(data["day"])
    data["small"] = data["small"].astype("Int8")
    data["flag"] = data["flag"].astype("boolean")
    data["single"] = data["single"].astype("float32")
    return data


def pandas_files(folder, seed):
    for version, rows in both(seed):
        data = flat(rows)
        data.to_parquet(folder / f"pandas-snappy-{version}.parquet")
        data.set_index("id").to_parquet(folder / f"pandas-index-{version}.parquet", compression="zstd")
        data = data.drop(columns=["raw"])
        data.to_csv(folder / f"pandas-{version}.csv", index=False)
        data.to_csv(folder / f"pandas-gzip-{version}.csv.gz", index=False, compression={"method": "gzip", "mtime": 1})
        data.to_json(folder / f"pandas-{version}.jsonl", orient="records", lines=True, date_format="iso")
        data.to_feather(folder / f"pandas-{version}.feather")


def fastparquet_files(folder, seed):
    import fastparquet

    for version, rows in both(seed):
        data = flat(rows)
        groups = list(range(0, len(data), GROUP_ROWS))
        for codec in ("SNAPPY", "GZIP", "ZSTD", "LZ4_RAW", "BROTLI", "UNCOMPRESSED"):
            fastparquet.write(f"{folder}/fastparquet-{codec.lower()}-{version}.parquet", data, groups, codec)
        fastparquet.write(f"{folder}/fastparquet-int96-{version}.parquet", data, groups, "SNAPPY", times="int96", stats=True)
        nested = data.assign(tags=[row["tags"] for row in rows], place=[row["place"] for row in rows])
        fastparquet.write(f"{folder}/fastparquet-json-{version}.parquet", nested, groups, "ZSTD",
                          object_encoding={"tags": "json", "place": "json", "raw": "bytes", "word": "utf8", "text": "utf8",
                                           "same": "utf8"})


def polars_files(folder, seed):
    import polars

    for version, rows in both(seed):
        data = polars.from_arrow(arrow(rows))
        for codec in ("snappy", "zstd", "gzip", "lz4", "brotli", "uncompressed"):
            data.write_parquet(folder / f"polars-{codec}-{version}.parquet", compression=codec, row_group_size=GROUP_ROWS)
        data.write_parquet(folder / f"polars-default-{version}.parquet")
        data.write_parquet(folder / f"polars-pages-{version}.parquet", data_page_size=2000, statistics="full")
        data.write_ipc(folder / f"polars-{version}.arrow")
        data.write_ipc(folder / f"polars-zstd-{version}.arrow", compression="zstd")
        data.write_ipc(folder / f"polars-lz4-{version}.arrow", compression="lz4")
        data.write_ipc_stream(folder / f"polars-{version}.arrows")
        data.drop("raw", "digest").write_ndjson(folder / f"polars-{version}.jsonl")
        data.select("id", "word", "text", "real", "flag", "price", "day", "at").write_csv(folder / f"polars-{version}.csv")
    for version, rows in both(seed, 0):
        polars.from_arrow(arrow(rows)).write_parquet(folder / f"empty-polars-{version}.parquet")


def duckdb_files(folder, seed):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for version, rows in both(seed):
        table = arrow(rows).drop_columns(["none"])
        connection.register("data", table)

        def copy(name, options, what="data"):
            connection.execute(f"COPY (FROM {what}) TO '{folder}/{name}' ({options})")

        for codec in ("snappy", "zstd", "gzip", "lz4_raw", "brotli", "uncompressed"):
            copy(f"duckdb-{codec}-{version}.parquet", f"FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE 2048")
        copy(f"duckdb-default-{version}.parquet", "FORMAT parquet")
        copy(f"other-duckdb-v2-{version}.parquet", "FORMAT parquet, PARQUET_VERSION v2")
        copy(f"duckdb-{version}.csv", "FORMAT csv")
        copy(f"duckdb-{version}.jsonl", "FORMAT json", "(SELECT * EXCLUDE (raw, digest) FROM data)")
        connection.unregister("data")
    for version, rows in both(seed, 0):
        connection.register("data", arrow(rows).drop_columns(["none"]))
        connection.execute(f"COPY data TO '{folder}/empty-duckdb-{version}.parquet' (FORMAT parquet)")
        connection.unregister("data")


def datasets_files(folder, seed):
    import datasets

    datasets.disable_progress_bars()
    for version, rows in both(seed):
        data = datasets.Dataset(arrow(rows).drop_columns(["none"]))
        data.to_parquet(folder / f"datasets-{version}.parquet")
        data = data.select_columns(["id", "word", "text", "single", "sure", "same"])
        data.to_csv(folder / f"datasets-{version}.csv")
        data.to_json(folder / f"datasets-{version}.jsonl")


def texts_files(folder, seed):
    """What Python itself writes, with what is wrong in it left as it is."""
    for version, rows in both(seed):
        lines = [json.dumps({name: row[name] for name in ("id", "word", "text", "flag", "tags", "place")}) for row in rows]
        lines.insert(7, '{"id": 1, "id": 2, "word":')
        packed = "\n".join(lines).encode() + b"\n\xff\xfe broken \x00\r\n"
        (folder / f"texts-{version}.jsonl").write_bytes(packed)
        (folder / f"texts-{version}.jsonl.gz").write_bytes(gzip.compress(packed, mtime=0))
        ragged = "".join(f'{row["id"]},"{row["word"]}""",{row["text"]}{"," * (row["id"] % 3)}\r\n' for row in rows)
        (folder / f"texts-{version}.csv").write_bytes(b"\xef\xbb\xbfid,id,text\n" + ragged.encode())


if __name__ == "__main__":
    writer, folder, *seed = sys.argv[1:]
    globals()[f"{writer}_files"](Path(folder), int(seed[0]) if seed else 4)
