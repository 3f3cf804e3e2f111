"""The page in a real browser, fed by a real daemon: what a person would try, and what a person would not see.

    check.py PROGRAM [--screenshots DIR]     all checks; with a folder, what each stage looks like, as PNG
    check.py PROGRAM --images DIR            only the pictures of the README, as WebP
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from browser import PATIENCE, Browser, Failed, find

DESKTOP = (1280, 900)
WIDE = (1400, 900)
PHONE = (390, 844)
# axe-core's script, the folder of which scripts/check-page.sh finds: rules for accessibility that we didn't write.
AXE = os.environ.get("AXE")
CAPTURE = os.path.join(os.path.dirname(__file__), "../../testdata/captures/softflowd-v9.pcap")

# Fails for each text whose contrast with what is behind it is under 4.5, or 3 where it is large (WCAG 2.2, 1.4.3).
CONTRAST = """(() => {
    const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b]
        .map((value) => value / 255)
        .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = rgba(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const weak = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        const box = element.getBoundingClientRect();
        if (!texts.currentNode.data.trim() || box.width < 2 || !element.checkVisibility()) continue;
        // It lies on a bar, not on what is behind that.
        if (element.matches('.inside')) continue;
        const style = getComputedStyle(element);
        const [one, other] = [light(rgba(style.color)), light(ground(element))].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        const size = parseFloat(style.fontSize);
        const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (contrast < (isLarge ? 3 : 4.5)) {
            weak.add(`${contrast.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 40)} (${element.className})`);
        }
    }
    return [...weak];
})()"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """A process of the program; ended with its output at hand."""

    def __init__(self, program, *arguments, **environment):
        self.program = program
        self.admin = free_port()
        self.url = f"http://127.0.0.1:{self.admin}/"
        self.directory = tempfile.TemporaryDirectory(prefix="netflow2traces-page-")
        self.log = open(os.path.join(self.directory.name, "log"), "w+", encoding="utf-8")
        settings = {
            "PATH": os.environ["PATH"],
            "NETFLOW_LISTEN_HOST": "127.0.0.1",
            "NETFLOW_LISTEN_PORT": "0",
            "NETFLOW_WORKERS": "2",
            "NETFLOW_ADMIN_PORT": str(self.admin),
            "NETFLOW_SHUTDOWN_TIMEOUT": "1s",
            "LOG_FORMAT": "json",
            **environment,
        }
        self.process = subprocess.Popen(
            [program, *arguments],
            env=settings,
            cwd=self.directory.name,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        status = self.until_ready()
        self.target = status["receive"]["listening"][0]

    def until_ready(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            # A connection is refused at once, and taken as soon as the port is bound.
            with contextlib.suppress(OSError):
                return self.api("status")
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise Failed(f"the daemon did not start:\n{self.log.read()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)

    def api(self, path):
        with urllib.request.urlopen(f"{self.url}api/{path}", timeout=PATIENCE) as answer:
            return json.load(answer)

    def send(self, *arguments):
        """Sends flow records to it from outside."""
        command = [self.program, "send", *arguments, "--to", self.target, "--quiet"]
        subprocess.run(command, check=True, env={}, stdout=subprocess.DEVNULL, timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.directory.cleanup()


class Check:
    def __init__(self, program, browser, pictures):
        self.program = program
        self.browser = browser
        self.pictures = pictures
        self.done = 0

    @contextlib.contextmanager
    def page(self, daemon, path="", size=DESKTOP, scheme="light"):
        page = self.browser.open(daemon.url + path, *size, scheme)
        yield page
        self.is_clean(page, daemon)
        page.close()

    def is_clean(self, page, daemon):
        """Nothing was complained of, and nobody else was asked for anything."""
        foreign = [url for url in page.requests if not url.startswith((daemon.url, "data:"))]
        if page.complaints or foreign:
            raise Failed(f"complaints: {page.complaints}\nrequests to others: {foreign}")

    def says(self, what):
        self.done += 1
        print(f"ok  {what}", flush=True)

    def picture(self, page, name, whole=False):
        if self.pictures:
            page.screenshot(os.path.join(self.pictures, f"{name}.png"), whole=whole)

    def no_weak_contrast(self, page, where):
        if weak := page.value(CONTRAST):
            raise Failed(f"{where}: contrast is too low:\n" + "\n".join(weak))

    def axe(self, page, where):
        """axe finds nothing serious, at both widths, light and dark. Without its script nothing is checked."""
        if AXE:
            with open(AXE, encoding="utf-8") as script:
                page.value(script.read() + "; 0")
        for size in (WIDE, PHONE):
            for scheme in ("light", "dark"):
                page.look(*size, scheme=scheme)
                width = f"{where}-{size[0]}-{scheme}"
                self.fits(page)
                self.no_weak_contrast(page, width)
                self.picture(page, width, whole=size == PHONE)
                if not AXE:
                    continue
                found = page.value("""axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations
                    .map(({ id, impact, help, nodes }) => `${impact}: ${id}: ${help}: ${nodes.slice(0, 4)
                        .map((node) => node.target.join(' ') + ' ' + (node.any[0]?.message ?? '')).join('; ')}`))""")
                serious = [line for line in found if line.startswith(("serious", "critical"))]
                for line in found:
                    print(f"    {width}: {line}", flush=True)
                if serious:
                    raise Failed(f"axe, {width}:\n" + "\n".join(serious))
        page.look(*DESKTOP)

    def everything_has_a_name(self, page):
        """What can be operated has a name that a screen reader says."""
        page.call("Accessibility.enable")
        nameless = []
        for node in page.call("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            name = node.get("name", {}).get("value", "")
            operated = role in ("button", "link", "textbox", "combobox", "table", "image", "dialog", "region")
            if operated and not node.get("ignored") and not name.strip():
                nameless.append((role, node.get("backendDOMNodeId")))
        page.call("Accessibility.disable")
        if len([role for role, _ in nameless if role != "table"]):
            raise Failed(f"without a name: {nameless}")

    def fits(self, page):
        # A phone shows a page that is too wide smaller, and its window as wider.
        width, window = page.value("[document.documentElement.scrollWidth, innerWidth]")
        if max(width, window) > page.width:
            raise Failed(f"the page is {width} wide in a window of {page.width}")

    ROWS = "document.querySelectorAll('#records tbody tr')"

    def demo(self):
        with Daemon(self.program, "demo", "--http-port", "0") as daemon, self.page(daemon) as page:
            page.until(f"{self.ROWS}.length > 10", "records")
            page.until("document.querySelectorAll('#exporters tbody tr').length === 3", "three exporters")
            page.until("document.querySelectorAll('#conversations tbody tr').length > 4", "conversations")
            page.until("document.querySelector('#state-receiving').textContent === 'receiving'", "its state")
            page.until("document.querySelector('#state-delivery').textContent === 'delivering'", "the backend's state")
            page.until("/^[1-9]/.test(document.querySelector('#figure-flows .value').textContent)", "a rate of flows")
            page.until("document.querySelector('#figure-traffic .line').getAttribute('d').includes('L')", "bits per second of the flows")
            page.until("document.querySelector('#exporters').innerText.includes('1 : 100')", "an exporter's sampling")
            if page.value("!document.querySelector('#findings').hidden"):
                raise Failed("something is found to be wrong: " + page.value("document.querySelector('#findings').innerText"))
            self.says("the demo's traffic is shown: rates, exporters, conversations, records")
            self.live(page)
            self.axe(page, "live")
            self.filter(page)
            self.trace(page, daemon)
            self.steady(page)
            self.keyboard(daemon)
            self.looks(page)
            self.two_pages(daemon)

    def live(self, page):
        page.value("window.seen = document.querySelector('#records tbody tr').dataset.key, 0")
        page.value("window.past = document.querySelector('#figure-flows .line').getAttribute('d'), 0")
        page.until("document.querySelector('#records tbody tr').dataset.key !== window.seen", "newer records")
        page.until("document.querySelector('#figure-flows .line').getAttribute('d') !== window.past", "a longer line")
        page.value("document.querySelector('#pause').click(), window.seen = document.querySelector('#records tbody tr').dataset.key, 0")
        page.until("/^paused, [1-9]/.test(document.querySelector('#records-note').textContent)", "a count of newer ones")
        if page.value("document.querySelector('#records tbody tr').dataset.key !== window.seen"):
            raise Failed("records come though they are paused")
        page.value("document.querySelector('#pause').click(), 0")
        page.until("document.querySelector('#records tbody tr').dataset.key !== window.seen", "records again")
        self.says("it updates by itself, and stands still when paused")

    def set_filter(self, page, **fields):
        for name in ("address", "peer", "port", "protocol", "exporter", "interface"):
            value = json.dumps(fields.get(name, ""))
            page.value(f"document.querySelector('#filter').elements['{name}'].value = {value}, 0")
        page.value("document.querySelector('#filter').requestSubmit()")

    def filter(self, page):
        column = "[...document.querySelectorAll('#records tbody tr')].map((row) => row.innerText)"
        self.set_filter(page, port="53", protocol="udp")
        page.until(f"{self.ROWS}.length > 3 && {column}.every((text) => text.includes(':53') && text.includes('udp'))", "DNS alone")
        address = page.value("document.querySelector('#records tbody td.address').innerText").rsplit(":", 1)[0].strip("[]")
        self.set_filter(page, address=address)
        page.until(f"{self.ROWS}.length > 0 && {column}.every((text) => text.includes({json.dumps(address)}))", f"{address} alone")
        if address not in urllib.parse.unquote(page.value("location.hash")):
            raise Failed("the address of the page doesn't keep the filter")
        self.set_filter(page, address="2001:db8::/32")
        page.until(f"{self.ROWS}.length > 0 && {column}.every((text) => text.includes('2001:db8:'))", "a network alone")
        self.set_filter(page, address="my router")
        page.until("document.querySelector('#filter-problem').innerText.includes('neither an IP address nor a network')", "what is wrong with a filter")
        page.until("document.querySelector('#filter [name=address]').getAttribute('aria-invalid') === 'true'", "the field that is wrong")
        self.axe(page, "searching")
        page.value("document.querySelector('#filter [type=reset]').click(), 0")
        page.until("document.querySelector('#filter-problem').hidden", "no mistake")
        page.value("document.querySelector('#conversations tbody button').click(), 0")
        page.until("document.querySelector('#filter').elements.address.value !== '' && location.hash.includes('address=')", "the filter of a conversation")
        client = page.value("document.querySelector('#filter').elements.address.value")
        server = page.value("document.querySelector('#filter').elements.peer.value")
        both = f"text.includes({json.dumps(client)}) && text.includes({json.dumps(server)})"
        page.until(f"{self.ROWS}.length > 0 && {column}.every((text) => {both})", "a conversation's records, with both ends")
        exporter = page.value("document.querySelector('#exporters tbody tr').cells[0].innerText")
        self.set_filter(page, exporter=exporter)
        cells = "[...document.querySelectorAll('#records tbody tr')].map((row) => row.cells[7].innerText)"
        page.until(f"{self.ROWS}.length > 0 && {cells}.every((text) => text === {json.dumps(exporter)})", "one exporter's records")
        self.set_filter(page, exporter=exporter, interface="4294967295")
        page.until("document.querySelector('#records-empty').checkVisibility()", "no record of an interface that isn't there")
        self.set_filter(page, interface="te0/0/0")
        through = "[...document.querySelectorAll('#records tbody tr')].map((row) => row.cells[7].title)"
        page.until(f"{self.ROWS}.length > 0 && {through}.every((text) => text.includes('Te0/0/0'))", "an interface by its name")
        page.value("document.querySelector('#filter [type=reset]').click(), 0")
        page.until(f"document.querySelector('#filter-problem').hidden && {self.ROWS}.length > 10", "everything again")
        self.says("records are filtered by address, network, port and protocol, and a mistake is named")

    def trace(self, page, daemon):
        page.value("document.querySelector('#pause').click(), 0")
        rows = page.value(f"[...{self.ROWS}].map((row) => row.innerText)")
        chosen = next(index for index, text in enumerate(rows) if "tcp" in text)
        source = page.value(f"{self.ROWS}[{chosen}].cells[1].innerText")
        page.value(f"{self.ROWS}[{chosen}].querySelector('button').focus(), 0")
        page.press("Enter", 13)
        page.call("Input.dispatchKeyEvent", type="char", text="\r")
        page.until("document.querySelector('#trace').open && document.querySelectorAll('#trace-rows li').length > 3", "the trace's spans")
        names = page.value("[...document.querySelectorAll('#trace-rows .name')].map((name) => name.title)")
        for name in ("netflow.export", "netflow.parse_packet", "netflow.process_flows", "netflow.flow"):
            if name not in names:
                raise Failed(f"{name} is not among {names}")
        details = page.value("document.querySelector('#trace-details').innerText")
        address, port = source.rsplit(":", 1)
        for part in (address.strip("[]"), port, "netflow.flow.bytes", "service.name", "netflow.exporter.address"):
            if part not in details:
                raise Failed(f"{part} is not in\n{details}")
        if page.value("document.activeElement.getAttribute('aria-pressed')") != "true":
            raise Failed("the span of the record is not chosen")
        self.axe(page, "trace")
        self.picture(page, "trace")
        link = page.value("document.querySelector('#trace-link').href")
        if not re.fullmatch(r"http://127\.0\.0\.1:\d+/trace/[0-9a-f]{32}", link):
            raise Failed(f"the link to the backend is {link}")
        deadline = time.monotonic() + PATIENCE
        with urllib.request.urlopen(link, timeout=max(1, deadline - time.monotonic())) as answer:
            if "netflow.process_flows" not in answer.read().decode():
                raise Failed("the backend shows no such trace")
        page.press("Escape", 27)
        page.until("!document.querySelector('#trace').open && !location.hash.includes('trace')", "a closed trace")
        page.until("document.activeElement.tagName === 'BUTTON'", "the focus back where it was")
        page.value("document.activeElement.blur(), document.querySelector('#pause').click(), 0")
        trace = link.rsplit("/", 1)[1]
        with self.page(daemon, f"#trace={trace}") as other:
            other.until("document.querySelectorAll('#trace-rows li').length > 3", "the same trace by its address")
        with self.page(daemon, f"#trace={'0' * 31}1") as other:
            other.until("document.querySelector('#trace-about').innerText.includes('Look for it in the backend')", "a trace that isn't held")
            self.axe(other, "trace-missing")
            other.complaints = [text for text in other.complaints if "404" not in text]
        self.says("a record opens its trace, with spans, attributes and a link to the backend's view")

    def keyboard(self, daemon):
        with self.page(daemon) as page:
            page.until(f"{self.ROWS}.length > 3", "records")
            name = "(document.activeElement.id || document.activeElement.name || document.activeElement.tagName)"
            seen = []
            for _ in range(24):
                page.press("Tab", 9)
                seen.append(page.value(name))
                if page.value("!document.activeElement.matches('body') && getComputedStyle(document.activeElement).outlineStyle === 'none'"):
                    raise Failed(f"{seen[-1]} does not show that it has the focus")
            for stop in ("theme", "accounts-summary", "address", "port", "protocol", "pause"):
                if stop not in seen:
                    raise Failed(f"Tab doesn't come to {stop}: {seen}")
            if seen[0] != "A":
                raise Failed(f"the first stop is {seen[0]}, not the link that skips")
            self.everything_has_a_name(page)
        self.says("it works by keyboard, and everything has a name")

    def steady(self, page):
        """Rows stay where they are while somebody points at the table, and no address is cut."""
        keys = "[...document.querySelectorAll('#conversations tbody tr')].map((row) => row.dataset.key)"
        box = page.value("(() => { const { x, y } = document.querySelector('#conversations tbody tr').getBoundingClientRect(); return [x + 5, y + 5]; })()")
        page.value("document.querySelector('#conversations').scrollIntoView({ block: 'center' }), 0")
        box = page.value("(() => { const { x, y } = document.querySelector('#conversations tbody tr').getBoundingClientRect(); return [x + 5, y + 5]; })()")
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
        page.until("document.querySelector('#conversations tbody').matches(':hover')", "a pointer on the table")
        before = page.value(keys)
        page.value("window.past = document.querySelector('#figure-flows .line').getAttribute('d'), 0")
        for _ in range(3):
            page.until("document.querySelector('#figure-flows .line').getAttribute('d') !== window.past", "another look")
            page.value("window.past = document.querySelector('#figure-flows .line').getAttribute('d'), 0")
        kept = [key for key in page.value(keys) if key in before]
        if kept != [key for key in before if key in kept]:
            raise Failed("rows of conversations changed places under the pointer")
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
        shares = "[...document.querySelectorAll('#conversations tbody tr')].map((row) => parseFloat(row.cells[5].innerText.replace('< ', '')))"
        page.until(f"!document.querySelector('#conversations tbody').matches(':hover') && {shares}.every((share, at, all) => at === 0 || share <= all[at - 1])", "the heaviest first again")
        cut = page.value("[...document.querySelectorAll('.address, .name')].filter((cell) => getComputedStyle(cell).textOverflow === 'ellipsis').length")
        if cut:
            raise Failed(f"{cut} addresses may be cut")
        zone = page.value("document.querySelector('#zone').textContent")
        title = page.value("document.querySelector('#records tbody tr').cells[0].title")
        if not zone.startswith("UTC") or not title.endswith(zone):
            raise Failed(f"the clock is {zone}, a record's time is {title}")
        self.says("rows stay under the pointer, addresses are whole, and the clock is named")

    def looks(self, page):
        self.no_weak_contrast(page, "light")
        self.fits(page)
        self.picture(page, "light", whole=True)
        page.look(*DESKTOP, scheme="dark")
        self.no_weak_contrast(page, "dark")
        self.picture(page, "dark", whole=True)
        page.look(*PHONE, scheme="light")
        self.fits(page)
        self.no_weak_contrast(page, "phone")
        self.picture(page, "phone", whole=True)
        page.look(*DESKTOP, scheme="light")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.value(ground)
        page.value("(() => { const theme = document.querySelector('#theme'); theme.value = 'dark'; theme.dispatchEvent(new Event('change')); })()")
        if page.value(ground) == light:
            raise Failed("the theme can't be switched")
        page.call("Page.reload")
        page.until(f"{ground} !== '{light}' && {self.ROWS}.length > 0", "the chosen theme after a reload")
        page.value("localStorage.removeItem('theme')")
        self.says("light and dark by the system and by choice, at the width of a desk and of a phone, with contrast")

    def two_pages(self, daemon):
        with contextlib.ExitStack() as pages:
            for _ in range(2):
                page = pages.enter_context(self.page(daemon))
                page.until(f"{self.ROWS}.length > 0", "records on each page")
        self.says("several pages are fed")

    def empty(self):
        with Daemon(self.program, "demo", "--no-traffic", "--http-port", "0") as daemon, self.page(daemon) as page:
            finding = "document.querySelector('#findings [data-code=nothing_received]')"
            page.until(f"{finding}.checkVisibility()", "what to check")
            text = page.value(f"{finding}.innerText")
            port = daemon.target.rsplit(":", 1)[1]
            for part in (daemon.target, "the kernel dropped none", f"udp port {port}", "netflow2traces send --to"):
                if part not in text:
                    raise Failed(f"{part} is not in\n{text}")
            page.until("document.querySelector('#state-receiving').textContent === 'waiting for datagrams'", "its state")
            self.axe(page, "empty")
            self.no_weak_contrast(page, "empty")
            self.picture(page, "empty")
            page.look(*PHONE, scheme="dark")
            self.fits(page)
            self.no_weak_contrast(page, "empty, dark")
            self.picture(page, "empty-phone", whole=True)
            page.look(*DESKTOP)
            self.says("when nothing arrives, it says what to check")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                host, port = daemon.target.rsplit(":", 1)
                other.sendto(b"<13>what is this?", (host, int(port)))
            page.until("document.querySelector('[data-code=none_readable]').innerText.includes('It had an unknown version')", "why nothing was read")
            page.until("document.querySelector('#exporters').innerText.includes('looks like syslog')", "what its sender seems to send")
            page.until("document.querySelector('[data-code=none_readable]').innerText.includes('looks like syslog')", "the same as advice")
            self.picture(page, "unreadable")
            self.says("what can't be read is named with its reason")
            daemon.send("--protocol", "v9", "--count", "60", "--flows-per-packet", "10")
            page.until(f"{self.ROWS}.length >= 40 && !document.querySelector('[data-code=none_readable]')", "records from an exporter")
            self.says("the first datagram ends that")

    def capture(self):
        with Daemon(self.program, "run", OTEL_TRACES_EXPORTER="none") as daemon, self.page(daemon) as page:
            page.until("document.querySelector('#findings article')", "an open page")
            daemon.send(CAPTURE)
            page.until(f"{self.ROWS}.length > 3", "the capture's records")
            page.until("document.querySelector('#exporters').innerText.includes('NetFlow v9')", "its exporter")
            page.value(f"{self.ROWS}[0].querySelector('button').click(), 0")
            page.until("document.querySelectorAll('#trace-rows li').length > 3", "a trace of the capture")
            if not page.value("document.querySelector('#trace-link').hidden"):
                raise Failed("there is a link to a backend's view, though none is configured")
            self.picture(page, "capture")
        self.says("a capture that is replayed is shown")

    def gone(self):
        """The daemon ends while its page is open."""
        with Daemon(self.program, "demo", "--no-traffic", "--http-port", "0") as daemon:
            page = self.browser.open(daemon.url, *DESKTOP)
            page.until("document.querySelector('#findings article')", "an open page")
            daemon.process.terminate()
            page.until("document.querySelector('#state-receiving').textContent === 'not connected'", "that the daemon is gone")
            page.until("document.querySelector('#connection').checkVisibility()", "a sentence about it")
            self.axe(page, "gone")
            page.close()
        self.says("a daemon that ended is not shown as receiving")

    def away(self):
        """A backend that nobody is, and a resource that tries to be markup."""
        port = free_port()
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_RESOURCE_ATTRIBUTES": "site=<img src=x onerror=alert(1)>",
            "NETFLOW_TRACE_URL": "http://jaeger.example:16686/trace/{trace_id}",
        }
        with Daemon(self.program, "run", **environment) as daemon, self.page(daemon) as page:
            page.until("document.querySelector('#findings article')", "an open page")
            daemon.send("--protocol", "v5", "--count", "30")
            page.until("document.querySelector('#state-delivery').textContent === 'backend unreachable'", "that the backend is unreachable")
            page.until("document.querySelector('[data-code=backend_away]').innerText.includes('nothing listens there')", "why")
            page.until("document.querySelector('#delivery-error').innerText.includes('nothing listens there')", "the last error")
            self.axe(page, "away")
            self.picture(page, "away")
            page.until(f"{self.ROWS}.length > 3", "records nevertheless")
            page.value(f"{self.ROWS}[0].querySelector('button').click(), 0")
            page.until("document.querySelector('#trace-details').innerText.includes('<img src=x onerror=alert(1)>')", "markup as text")
            if page.value("document.querySelectorAll('img').length") != 1:
                raise Failed("markup of an attribute became an element")
            link = page.value("document.querySelector('#trace-link').href")
            if not re.fullmatch(r"http://jaeger\.example:16686/trace/[0-9a-f]{32}", link):
                raise Failed(f"the link to the backend's view is {link}")
        self.says("an unreachable backend is named with its reason; attributes are text; links lead where they should")


def images(program, browser, folder):
    """The README's pictures, once there is a history to show."""
    os.makedirs(folder, exist_ok=True)
    size = (1240, 1180)
    with Daemon(program, "demo", "--http-port", "0") as daemon:
        page = browser.open(daemon.url, *size, "light", 1.5)
        page.until(f"{Check.ROWS}.length > 10", "records")
        seconds = int(os.environ.get("SECONDS_OF_HISTORY", "285"))
        print(f"collecting {seconds} s of history", flush=True)
        deadline = time.monotonic() + seconds + PATIENCE
        while page.value("fetch('/api/history').then((answer) => answer.json()).then((past) => past.at.length)") < seconds:
            if time.monotonic() > deadline:
                raise Failed("the history doesn't grow")
            page.value("new Promise((resolve) => setTimeout(resolve, 1000))")
        # Down to the first conversations.
        cut = "document.querySelectorAll('#conversations tbody tr')[3].getBoundingClientRect().bottom + scrollY"
        written = [page.screenshot(os.path.join(folder, "page-light.webp"), height=page.value(cut))]
        page.look(*size, scheme="dark", scale=1.5)
        written.append(page.screenshot(os.path.join(folder, "page-dark.webp"), height=page.value(cut)))
        page.look(1240, 760, scheme="light", scale=1.5)
        page.value("document.querySelector('#pause').click(), 0")
        # The trace that most of the rows are of.
        most = """(() => {
            const rows = [...document.querySelectorAll('#records tbody tr')];
            const of = Map.groupBy(rows, (row) => row.dataset.trace);
            return [...of.values()].sort((one, other) => other.length - one.length)[0][0];
        })()"""
        page.value(f"{most}.querySelector('button').click(), 0")
        page.until("document.querySelectorAll('#trace-rows li').length > 3", "a trace")
        written.append(page.screenshot(os.path.join(folder, "trace-light.webp")))
        page.close()
    for octets in written:
        if octets >= 250_000:
            raise Failed(f"a picture has {octets} octets")
    print(f"written to {folder}: {written} octets")


def main():
    program, *options = sys.argv[1:]
    browser = Browser(find() or sys.exit("no Chromium is installed"))
    try:
        if options[:1] == ["--images"]:
            images(program, browser, options[1])
            return
        pictures = options[1] if options[:1] == ["--screenshots"] else None
        if pictures:
            os.makedirs(pictures, exist_ok=True)
        check = Check(program, browser, pictures)
        for stage in (check.empty, check.demo, check.capture, check.away, check.gone):
            stage()
        print(f"the page: {check.done} checks passed" + ("; axe finds nothing serious in any state" if AXE else ""))
    except Failed as failure:
        sys.exit(f"FAILED: {failure}")
    finally:
        browser.close()


if __name__ == "__main__":
    main()
