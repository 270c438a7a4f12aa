#!/usr/bin/env python3
"""Write a large real table and typical second versions of it, as Parquet: packages.py OUT_DIR [WRITER]

The table is Debian's own package index as apt keeps it on this machine (run `apt-get update` first): about 60 000 rows, 22 columns
of strings, integers and lists. Needs pyarrow and, for --writer polars/duckdb/pandas/fastparquet, that package.

v1        90 % of the rows, in index order (the other 10 % serve as new rows)
append1   v1 plus 1 % new rows at the end          upd1      1 % of the rows changed, scattered
del1      1 % of the rows deleted, scattered       insscat1  1 % new rows inserted, scattered
insmid1   1 % new rows in one block in the middle  resort    sorted by section, package
shuffle   rows in random order                     filter    rows of eight sections
addcol, dropcol, rename, cast                      one column each
rg        other row-group size                     codec     zstd instead of snappy pages
concat    v1 plus all new rows
translate the descriptions of 41 % of the rows, word by word in a made-up language: each word stands for another one
"""
import glob, os, re, subprocess, sys
import numpy as np, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq

FIELDS = ['Package', 'Source', 'Version', 'Installed-Size', 'Maintainer', 'Architecture', 'Depends', 'Recommends', 'Suggests', 'Conflicts', 'Provides',
          'Section', 'Priority', 'Multi-Arch', 'Homepage', 'Tag', 'Filename', 'Size', 'SHA256', 'MD5sum', 'Description-md5', 'Description']

def stanzas(text):
    record, last = {}, None
    for line in text.split('\n'):
        if not line:
            if record: yield record
            record, last = {}, None
        elif line[0] in ' \t':
            record[last] += '\n' + line[1:]
        else:
            last, _, value = line.partition(':')
            record[last] = value.strip()
    if record: yield record

def package_table():
    lists = sorted(glob.glob('/var/lib/apt/lists/*_main_binary-amd64_Packages*'), key=os.path.getsize)
    if not lists: sys.exit('no package index found: run apt-get update')
    raw = subprocess.run(['/usr/lib/apt/apt-helper', 'cat-file', lists[-1]], capture_output=True, check=True).stdout
    rows = list(stanzas(raw.decode('utf8', 'replace')))
    columns = {}
    for field in FIELDS:
        values, name = [r.get(field) for r in rows], field.lower().replace('-', '_')
        if field in ('Installed-Size', 'Size'): columns[name] = pa.array([int(v) if v else None for v in values], pa.int64())
        elif field in ('Depends', 'Tag'): columns[name] = pa.array([re.split(r',\s*', v) if v else None for v in values], pa.list_(pa.string()))
        else: columns[name] = pa.array(values, pa.string())
    return pa.table(columns)

def replace(table, name, array): return table.set_column(table.schema.get_field_index(name), name, array)

def translated(texts):
    """As many rows as a real translation had; nothing is left of the old words, and the grammar stays."""
    rng = np.random.default_rng(8)
    words = sorted({word for text in texts if text for word in re.findall(r'[^\W\d_]+', text)})
    other = dict(zip(words, (words[at] for at in rng.permutation(len(words)))))
    is_done = rng.random(len(texts)) < 0.41
    swap = lambda text: re.sub(r'[^\W\d_]+', lambda word: other[word[0]], text)
    return [swap(text) if text and done else text for text, done in zip(texts, is_done)]

def write(table, path, writer, **options):
    if writer == 'pyarrow': pq.write_table(table, path, compression=options.pop('compression', 'snappy'), **options)
    elif writer == 'polars':
        import polars as pl
        pl.from_arrow(table).write_parquet(path, compression=options.get('compression', 'snappy'), row_group_size=options.get('row_group_size'))
    elif writer == 'duckdb':
        import duckdb
        size = f", ROW_GROUP_SIZE {options['row_group_size']}" if 'row_group_size' in options else ''
        duckdb.sql(f"COPY (SELECT * FROM table) TO '{path}' (FORMAT parquet, COMPRESSION {options.get('compression', 'snappy')}{size})")
    else: table.to_pandas().to_parquet(path, engine='fastparquet' if writer == 'fastparquet' else 'pyarrow', compression=options.get('compression', 'snappy'))

def main():
    out, writer = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else 'pyarrow')
    os.makedirs(out, exist_ok=True)
    rng, full = np.random.default_rng(7), package_table()
    spare = np.zeros(full.num_rows, bool); spare[rng.choice(full.num_rows, full.num_rows // 10, replace=False)] = True
    v1, new = full.filter(pa.array(~spare)), full.filter(pa.array(spare))
    n, one = v1.num_rows, v1.num_rows // 100
    def some(): return np.sort(rng.choice(n, one, replace=False))
    def changed():  # as a new release does it: version, sizes, digests, file name of a real other row
        rows, t = some(), v1
        for name in ('version', 'installed_size', 'filename', 'size', 'sha256', 'md5sum'):
            values, other = t[name].to_pylist(), new[name].to_pylist()
            for k, i in enumerate(rows): values[i] = other[k]
            t = replace(t, name, pa.array(values, t.schema.field(name).type))
        return t
    keep = np.ones(n, bool); keep[some()] = False
    scattered = np.insert(np.arange(n), some(), np.arange(n, n + one))
    versions = {
        'v1': v1, 'append1': pa.concat_tables([v1, new.slice(0, one)]), 'upd1': changed(), 'del1': v1.filter(pa.array(keep)),
        'insscat1': pa.concat_tables([v1, new.slice(one, one)]).take(pa.array(scattered)),
        'insmid1': pa.concat_tables([v1.slice(0, n // 2), new.slice(2 * one, one), v1.slice(n // 2)]),
        'resort': v1.sort_by([('section', 'ascending'), ('package', 'ascending')]), 'shuffle': v1.take(pa.array(rng.permutation(n))),
        'filter': v1.filter(pc.is_in(v1['section'], value_set=pa.array(['libs', 'python', 'admin', 'net', 'utils', 'devel', 'doc', 'perl']))),
        'addcol': v1.append_column('description_length', pc.utf8_length(v1['description'])), 'dropcol': v1.drop_columns(['filename']),
        'rename': v1.rename_columns(['maintainer_name' if c == 'maintainer' else c for c in v1.column_names]),
        'cast': replace(v1, 'installed_size', v1['installed_size'].cast(pa.float64())), 'concat': pa.concat_tables([v1, new]),
    }
    versions['translate'] = replace(v1, 'description', pa.array(translated(v1['description'].to_pylist()), pa.string()))
    for name, table in versions.items(): write(table, f'{out}/{name}.parquet', writer)
    write(v1, f'{out}/rg.parquet', writer, row_group_size=8000)
    write(v1, f'{out}/codec.parquet', writer, compression='zstd')
    for name in sorted(os.listdir(out)): print(f'{os.path.getsize(os.path.join(out, name)):>12} {name}')

if __name__ == '__main__': main()
