"""Compares what `netflow2traces decode` makes of captures with tshark and nfdump, record by record.

    python3 scripts/differential [--program PROGRAM] [--show N] [FILE.pcap...]

Without a file: the captures of testdata, and those of the folder NETFLOW_CAPTURES (default ../shared/captures) where
it is present. tshark dissects all versions and sFlow; nfdump is sent the same datagrams and prints what it kept; so
is nfacctd of pmacct, where it is installed, with those of derived.py that tell sampling. Every field that both have must be
equal, times to the nanosecond (nfdump: to the millisecond), and counts multiplied by the sampling interval. Known differences stand in
known.py, each with its reason and the captures that show it; docs/differential.md says more of them. The exit status is
0 when there is no other difference and no known one is missing, 1 when there is, 2 when a program is absent or fails.
"""

import argparse
import collections
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402
import corpus  # noqa: E402
import derived  # noqa: E402
import known  # noqa: E402
import nfacctd  # noqa: E402
import nfdump  # noqa: E402
import tshark  # noqa: E402


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--program", default=os.path.join(
        os.environ.get("CARGO_TARGET_DIR", os.path.join(corpus.ROOT, "target")), "debug", "netflow2traces"))
    parser.add_argument("--show", type=int, default=20)
    options = parser.parse_args()
    absent = [tool for tool in (options.program, "tshark", "nfcapd", "nfdump") if not shutil.which(tool)]
    if absent:
        sys.exit(fail("not installed: " + ", ".join(absent)))
    datagrams = corpus.merge(options.files) if options.files else corpus.merge(captures(), derived.datagrams())
    with tempfile.TemporaryDirectory() as folder:
        plain, copy = os.path.join(folder, "all.pcap"), os.path.join(folder, "tshark.pcap")
        corpus.write(datagrams, plain)
        corpus.write(datagrams, copy, every_set=True)
        ours = decoded(options.program, plain)
        reports = [compare.with_tshark(ours, tshark.read(copy), datagrams),
                   compare.with_nfdump(ours, nfdump.read(datagrams), datagrams)]
    cases = frozenset(datagram.case for datagram in datagrams)
    sampled = [datagram for datagram in datagrams if datagram.case.startswith("derived-sampling-")]
    if sampled and nfacctd.is_installed():
        reports.append(compare.with_nfacctd(ours, nfacctd.read(sampled), datagrams))
    elif sampled:
        left_out("sampled counts compared with nfacctd, which is not installed (Debian's package pmacct)")
    unknown, used, stale = known.explain([found for report in reports for found in report[0]], cases)
    for oracle, (_, compared) in zip(("tshark", "nfdump", "nfacctd"), reports):
        print("%s: %d records, %d values of %d captures compared" % (
            oracle, compared["records"], compared["values"], len(cases)))
    for rule in known.RULES:
        if rule in used:
            count = sum(map(len, used[rule].values()))
            print("known: %s %s: %d values of %d captures (%s)" % (
                rule.oracle, rule.name, count, len(used[rule]), rule.reason))
    for difference in unknown[:options.show]:
        print("different: %s datagram %d: %s is %s, %s has %s" % (
            difference.case, difference.frame, difference.field, difference.ours, difference.oracle, difference.theirs))
    for rule, case in stale:
        print("stale: %s %s explains nothing of %s any more" % (rule.oracle, rule.name, case))
    stale = [(rule, case) for rule, case in stale if is_known_version(rule.oracle)]
    for rule in undocumented():
        print("undocumented: %s %s has no row in docs/differential.md" % (rule.oracle, rule.name))
        stale.append(rule)
    if unknown:
        print("%d differences are not explained" % len(unknown))
    if min(compared["records"] for _, compared in reports) == 0:
        sys.exit(fail("nothing was compared"))
    sys.exit(1 if unknown or stale else 0)


def fail(what):
    print(what, file=sys.stderr)
    return 2


def captures():
    folder = os.environ.get("NETFLOW_CAPTURES", os.path.join(corpus.ROOT, "..", "shared", "captures"))
    own = glob.glob(os.path.join(corpus.ROOT, "testdata", "*", "*.pcap"))
    return sorted(own) + sorted(glob.glob(os.path.join(folder, "*.pcap")))


def decoded(program, capture):
    """Our records by frame; status 1 says that something was not understood, which the captures ask for."""
    ended = subprocess.run([program, "decode", "--attributes", "all", capture], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, check=False)
    if ended.returncode > 1:
        sys.exit(fail("%s: %s" % (program, ended.stderr.decode(errors="replace"))))
    frames = collections.defaultdict(list)
    for line in ended.stdout.decode().splitlines():
        record = json.loads(line)
        frames[record["frame"]].append(record)
    return frames


def left_out(what):
    """As left_out of scripts/left-out.sh."""
    print("left out: " + what)
    if os.environ.get("NETFLOW_LEFT_OUT"):
        with open(os.environ["NETFLOW_LEFT_OUT"], "a") as file:
            file.write(what + "\n")


def is_known_version(oracle):
    if not shutil.which(oracle):
        return False
    told = subprocess.run([oracle, "--version" if oracle == "tshark" else "-V"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False).stdout.decode(errors="replace")
    return known.VERSIONS[oracle] in told.partition("\n")[0]


def undocumented():
    with open(os.path.join(corpus.ROOT, "docs", "differential.md")) as file:
        page = file.read()
    return [rule for rule in known.RULES if "| `%s` | %s |" % (rule.name, rule.oracle) not in page]


if __name__ == "__main__":
    main()
