"""A headless Chromium, driven by the DevTools protocol over a pipe: nothing but Python's own library is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

# Until something that should happen has happened, in seconds.
PATIENCE = 30
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--font-render-hinting=none",
]


def find():
    """The browser's program, or None."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


class Failed(Exception):
    """What was expected did not happen."""


class Browser:
    """One browser with a profile of its own, gone when it ends."""

    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="netflow2traces-page-")
        # Chromium reads from descriptor 3 and writes to 4; ours are far from both.
        theirs, self.to = os.pipe()
        self.back, answers = os.pipe()
        theirs, answers = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs, answers))

        def place():
            os.dup2(theirs, 3)
            os.dup2(answers, 4)

        # Root has no sandbox to give; the page is ours.
        flags = FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else [])
        self.process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={self.profile}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=place,
        )
        os.close(theirs)
        os.close(answers)
        self.number = 0
        self.unread = b""
        self.pages = {}

    def call(self, method, session=None, **parameters):
        """Sends a command and waits for its answer; events that come before go to their pages."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.read(lambda answer: answer.get("id") == message["id"], method)

    def read(self, is_wanted, what):
        deadline = time.monotonic() + PATIENCE + 5
        while True:
            while b"\0" in self.unread:
                octets, _, self.unread = self.unread.partition(b"\0")
                answer = json.loads(octets)
                if page := self.pages.get(answer.get("sessionId")):
                    page.note(answer)
                if is_wanted(answer):
                    if "error" in answer:
                        raise Failed(f"{what}: {answer['error']}")
                    return answer.get("result", {})
            ready, _, _ = select.select([self.back], [], [], max(0, deadline - time.monotonic()))
            octets = os.read(self.back, 1 << 16) if ready else b""
            if not octets:
                raise Failed(f"the browser does not answer: {what}")
            self.unread += octets

    def open(self, url, width=1280, height=900, scheme="light", scale=1):
        return Page(self, url, width, height, scheme, scale)

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except (Failed, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    """One open page, with what it asked for and what it complained of."""

    def __init__(self, browser, url, width, height, scheme, scale):
        self.browser = browser
        self.requests = []
        self.complaints = []
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.look(width, height, scheme, scale)
        self.call("Page.navigate", url=url)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def note(self, event):
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            said = details.get("exception", {}).get("description", "")
            self.complaints.append(f"{details['text']} {said}")
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            values = [str(value.get("value", value.get("description"))) for value in parameters["args"]]
            self.complaints.append(" ".join(values))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            entry = parameters["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    def look(self, width, height, scheme="light", scale=1):
        """Sets the size of the window and what the system prefers."""
        self.width = width
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def value(self, expression):
        """What an expression is in the page; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise Failed(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, condition, what):
        """Waits until something holds in the page."""
        holds = self.value(
            f"""new Promise((resolve) => {{
                const end = Date.now() + {PATIENCE * 1000};
                const again = () => {{
                    let holds = false;
                    try {{ holds = Boolean({condition}); }} catch {{ /* Not yet. */ }}
                    if (holds || Date.now() > end) resolve(holds); else setTimeout(again, 40);
                }};
                again();
            }})"""
        )
        if not holds:
            shown = self.value("document.body.innerText")
            raise Failed(f"did not happen: {what}\n{condition}\n--- the page shows:\n{shown[:3000]}")

    def press(self, key, code=0, modifiers=0):
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers
            )

    def screenshot(self, path, whole=False, height=None):
        """The window, or the whole page, or so much of it; the name says the form: png or webp."""
        form = os.path.splitext(path)[1][1:]
        parameters = {"format": form}
        if form == "webp":
            parameters["quality"] = 76
        if whole or height:
            size = self.value("[innerWidth, document.documentElement.scrollHeight]")
            clip = {"x": 0, "y": 0, "width": size[0], "height": height or size[1], "scale": 1}
            parameters.update(clip=clip, captureBeyondViewport=True)
        octets = base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"])
        with open(path, "wb") as file:
            file.write(octets)
        return len(octets)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
