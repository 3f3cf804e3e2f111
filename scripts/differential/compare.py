"""The comparison: what differs, and by which rule it is explained."""

import calendar
import collections
import time

import fields

Difference = collections.namedtuple("Difference", "oracle case frame field ours theirs record")


def with_tshark(ours, frames, datagrams):
    """Differences of our records by frame from tshark's, and how many records and values were compared."""
    found, compared = [], collections.Counter()
    for number, frame in sorted(frames.items()):
        datagram, mine = datagrams[number - 1], ours.get(number, [])
        if len(mine) != len(frame.records):
            reason = "".join(sorted(frame.reasons))
            found.append(Difference("tshark", datagram.case, datagram.number, "records " + reason, len(mine),
                                    len(frame.records), None))
            continue
        for record, theirs in zip(mine, frame.records):
            compared["records"] += 1
            pairs = sflow(record, theirs) if datagram.version == "sflow" else cflow(record, theirs)
            for field, our, their in pairs:
                compared["values"] += 1
                if not same(our, their):
                    found.append(Difference("tshark", datagram.case, datagram.number, field, our, their,
                                            (record, theirs)))
    return found, compared


def same(our, their):
    """An attribute without text is left out; times are given with what rounding may make of them."""
    return our in their if isinstance(their, set) else our == their or our is None and their == ""


def table(attributes, theirs, rows):
    for name, (read, *names) in rows.items():
        values = [read(octets) for wanted in names for octets in theirs.octets(wanted)]
        if not values:
            continue
        yield name, attributes.get(name), values[0]


def cflow(record, theirs):
    attributes = record["attributes"]
    labels = [(("label %d" % place), shown, octets) for place, (name, shown, octets) in enumerate(
        (field for field in theirs.fields if field[0] == "cflow.mpls_label"), 1)]
    theirs.fields.extend(labels)
    yield from table(attributes, theirs, fields.CFLOW)
    for side in ("start", "end"):
        if side in theirs.times:
            at = theirs.times[side]
            # tshark cuts what is less than a nanosecond off; ours is rounded.
            yield side, record.get(side + "_unix_nano"), at if at is None else {at, at + 1}
    for octets in theirs.octets("cflow.icmp_type_code_ipv4")[:1]:
        if not theirs.octets("cflow.icmp_ipv4_type", "cflow.icmp_ipv6_type"):
            yield "netflow.icmp.type", attributes.get("netflow.icmp.type"), octets[0]
            yield "netflow.icmp.code", attributes.get("netflow.icmp.code"), octets[1]
    status = theirs.octets("cflow.forwarding_status")[:1]
    if status:
        codes = [octets for name, _, octets in theirs.fields if name.startswith("cflow.forwarding_status_")]
        value = fields.number(status[0]) << 6 | (fields.number(codes[0]) if codes else 0)
        yield "netflow.forwarding_status", attributes.get("netflow.forwarding_status"), value
    engine = theirs.octets("cflow.appl_id.classification_engine_id")[:1]
    if engine:
        selector = theirs.octets("cflow.appl_id.selector_id", "cflow.appl_id.pana_L7_classification_engine_id")[-1:]
        told = "%d:%d" % (engine[0][0], fields.number(selector[0]) if selector else 0)
        yield "netflow.application.id", attributes.get("netflow.application.id"), told
    # Everything else that tshark read must stand somewhere in the record.
    named = {name for _, *names in fields.CFLOW.values() for name in names}
    shown = {form for value in attributes.values() for form in fields.as_shown(value)}
    for name, said, octets in theirs.fields:
        if name in named or name.startswith("label ") or fields.NOT_FIELDS.match(name):
            continue
        possible = fields.readings(said, octets)
        yield name, bool(possible & shown) or said == "", True


def sflow(record, theirs):
    attributes = record["attributes"]
    yield from table(attributes, theirs, fields.SFLOW)


def with_nfdump(ours, exporters, datagrams):
    """Differences from nfdump's records of each exporter, in the order of the datagrams."""
    found, compared = [], collections.Counter()
    mine, cases = collections.defaultdict(list), {}
    for number, datagram in enumerate(datagrams, 1):
        if datagram.version == "sflow":
            continue
        cases[datagram.source] = datagram.case
        mine[datagram.source].extend((datagram, record) for record in ours.get(number, []))
    for source, case in cases.items():
        theirs = exporters.get(source, [])
        if len(mine[source]) != len(theirs):
            found.append(Difference("nfdump", case, 0, "records", len(mine[source]), len(theirs), None))
            continue
        for (datagram, record), their in zip(mine[source], theirs):
            compared["records"] += 1
            for field, our, shown in pairs(record, their):
                compared["values"] += 1
                if our != shown:
                    found.append(Difference("nfdump", case, datagram.number, field, our, shown, (record, their)))
    return found, compared


def with_nfacctd(ours, exporters, datagrams):
    """Differences of the estimated counts of each datagram from nfacctd's, which adds an exporter's flows up."""
    found, compared = [], collections.Counter()
    for number, datagram in enumerate(datagrams, 1):
        if datagram.source not in exporters:
            continue
        mine = ours.get(number, [])
        for field, their in zip(("netflow.flow.estimated.packets", "netflow.flow.estimated.bytes"),
                                exporters[datagram.source]):
            compared["values"] += 1
            our = sum(record["attributes"].get(field, 0) for record in mine)
            if our != their:
                found.append(Difference("nfacctd", datagram.case, datagram.number, field, our, their, (mine[0], None)))
        compared["records"] += len(mine)
    return found, compared


ZEROS = (0, None, "", "0.0.0.0", "::", "00:00:00:00:00:00", "<empty>")


def pairs(record, theirs):
    """nfdump keeps elements in groups, so that a zero of its doesn't say that the element was there."""
    attributes = record["attributes"]
    for name, (read, *names) in fields.NFDUMP.items():
        told = [read(theirs[wanted]) for wanted in names if wanted in theirs]
        our = attributes.get(name)
        if not told or our in ZEROS and told[0] in ZEROS or our is None and name == "network.io.direction":
            continue
        yield name, our, told[0]
    port = attributes.get("destination.port")
    if "icmp_type" in theirs:
        port = (attributes.get("netflow.icmp.type") or 0) << 8 | (attributes.get("netflow.icmp.code") or 0)
        yield "netflow.icmp", port, theirs["icmp_type"] << 8 | theirs["icmp_code"]
    elif port or theirs.get("dst_port"):
        yield "destination.port", port, theirs.get("dst_port")
    for side, name in (("start", "first"), ("end", "last")):
        our = record.get(side + "_unix_nano")
        told = time_of(theirs.get(name))
        if our is not None or told:
            yield side, None if our is None else our // 10**6, told


def time_of(shown):
    """Milliseconds since 1970; nfdump has no time for some events."""
    if not shown:
        return None
    day, _, fraction = shown.partition(".")
    return calendar.timegm(time.strptime(day, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(fraction)
