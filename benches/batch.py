"""Asks a hub for 100 files at a time and prints how long its answers took, and its processor; called by benches/batch.sh."""

import hashlib, http.client, json, os, random, statistics, sys, time
from urllib.parse import urlsplit

url, path, server = sys.argv[1:]
known = open(path).read().split()
random.seed(7)
connection = http.client.HTTPConnection(urlsplit(url).netloc)
LFS = "/org/million.git/info/lfs"
TYPE = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}


def ask(path, body, check):
    start = time.perf_counter()
    connection.request("POST", LFS + path, body, TYPE)
    answer = connection.getresponse()
    text = answer.read()
    took = 1000 * (time.perf_counter() - start)
    assert answer.status == 200 and check(text), (answer.status, text[:300])
    return took


def batch(operation, transfer, oids):
    objects = [{"oid": oid, "size": 8} for oid in oids]
    body = json.dumps({"operation": operation, "transfers": [transfer], "objects": objects})
    right = lambda text: text.count(b'"href"') >= 100 and b'"error"' not in text
    return ask("/objects/batch", body, right)


def has(oids):
    return ask("/sparse/1/has", bytes.fromhex("".join(oids)), lambda text: text == 100 * b"\1")


def index_made():
    """Milliseconds from the start of the hub to its first answer that needs the index."""
    while True:
        connection.request("POST", LFS + "/sparse/1/has", bytes.fromhex("".join(some())))
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            ticks = int(open(f"/proc/{server}/stat").read().rsplit(")", 1)[1].split()[19])
            return 1000 * (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
        assert answer.status == 503, answer.status
        time.sleep(min(5, int(answer.getheader("Retry-After", 1))))


def processor():
    """Milliseconds of the processor that the hub has taken."""
    fields = open(f"/proc/{server}/stat").read().rsplit(")", 1)[1].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def row(name, one, times=200):
    before = processor()
    took = sorted(one() for _ in range(times))
    each = (processor() - before) / times
    print(f"| {name} | {statistics.median(took):.1f} | {took[int(0.99 * times)]:.1f} | {took[-1]:.1f} | {each:.1f} |")


def some():
    return random.sample(known, 100)


def strangers():
    return [hashlib.sha256(random.randbytes(8)).hexdigest() for _ in range(100)]


print("| 100 files of 1 000 000, milliseconds | median | 99 % | longest | hub's processor, mean |")
print("| --- | --- | --- | --- | --- |")
row("the first batch after the start", lambda: batch("download", "basic", some()), 1)
row("batch, download, basic", lambda: batch("download", "basic", some()))
row("batch, download, sparse", lambda: batch("download", "sparse", some()))
row("batch, upload of new files, basic", lambda: batch("upload", "basic", strangers()))
print(f"| the index is made, since the hub's start | {index_made():.0f} | | | |")
row("`has`, sparse", lambda: has(some()))
