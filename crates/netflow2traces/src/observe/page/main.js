// The live connection: it is open while the page can be seen, and carries the filter.

import { byId, setText } from './dom.js';
import { onExporter, showExporters } from './exporters.js';
import { forgetRecords, onFilter, onTrace, showConversations, showRecords } from './flows.js';
import { showDisconnected, showHistory, showStatus, showTraffic } from './overview.js';
import { onNarrow, showTops } from './tops.js';
import { onTraceClosed, openTrace, setTraceUrl } from './trace.js';

/** How long to wait after a refused connection, in milliseconds. */
const PAUSE = 3000;
const FIELDS = ['address', 'peer', 'port', 'protocol', 'exporter', 'interface'];

const form = byId('filter');
let source = null;
let retry = 0;

/** The page's URL has this after its `#`: the filter, and the open trace. */
const wanted = () => new URLSearchParams(location.hash.slice(1));

function want(changes) {
  const all = wanted();
  for (const [name, value] of Object.entries(changes)) {
    if (value) all.set(name, value);
    else all.delete(name);
  }
  const text = all.toString();
  history.replaceState(null, '', text ? `#${text}` : location.pathname);
}

function connect() {
  disconnect();
  const query = new URLSearchParams();
  for (const name of FIELDS) if (wanted().get(name)) query.set(name, wanted().get(name));
  source = new EventSource(`/api/live?${query}`);
  const on = (name, show) => source.addEventListener(name, (event) => show(JSON.parse(event.data)));
  on('hello', (hello) => {
    say('');
    showHistory(hello.history);
    setTraceUrl(hello.trace_url);
    showFilterProblem(hello.filter_problem);
    forgetRecords(query.toString() !== '');
    reopenTrace();
  });
  on('status', showStatus);
  on('exporters', showExporters);
  on('conversations', showConversations);
  on('traffic', showTraffic);
  on('tops', showTops);
  on('records', showRecords);
  source.addEventListener('error', async () => {
    const mine = source;
    if (mine.readyState !== EventSource.CLOSED) {
      say('The connection to the daemon is lost: what you see is the last state. Reconnecting.');
      return;
    }
    const isThere = await fetch('/livez').then((response) => response.ok, () => false);
    if (mine !== source) return;
    say(isThere ? 'Too many pages are open (limit: 8). Close one.' : 'The daemon does not answer: what you see is the last state. Reconnecting.');
    retry = setTimeout(connect, PAUSE);
  });
}

function disconnect() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

/** Why nothing new is shown; empty when it is. */
function say(text) {
  if (text) showDisconnected();
  const place = byId('connection');
  place.hidden = !text;
  setText(place, text);
}

// A hidden page costs nothing.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) disconnect();
  else connect();
});

form.addEventListener('submit', (event) => {
  event.preventDefault();
  want(Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value.trim()])));
  connect();
});

/** Narrows the filter from what it is. */
function narrow(fields) {
  for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;
  form.requestSubmit();
  byId('tops').scrollIntoView({ block: 'nearest' });
}
onNarrow(narrow);
onExporter((address) => narrow({ exporter: address, interface: '' }));

onFilter((fields) => {
  for (const name of FIELDS) form.elements[name].value = fields[name] ?? '';
  form.requestSubmit();
  byId('records-section').scrollIntoView();
  byId('pause').focus({ preventScroll: true });
});

form.addEventListener('reset', () => {
  want(Object.fromEntries(FIELDS.map((name) => [name, ''])));
  connect();
});

function showFilterProblem(problem) {
  const place = byId('filter-problem');
  place.hidden = !problem;
  setText(place, problem?.text ?? '');
  for (const name of FIELDS) {
    const input = form.elements[name];
    if (problem?.field === name) {
      input.setAttribute('aria-invalid', 'true');
      input.setAttribute('aria-describedby', place.id);
    } else {
      input.removeAttribute('aria-invalid');
      input.removeAttribute('aria-describedby');
    }
  }
}

onTrace((trace, span) => {
  want({ trace, span });
  openTrace(trace, span);
});
onTraceClosed(() => want({ trace: '', span: '' }));

let isReopened = false;
function reopenTrace() {
  const trace = wanted().get('trace');
  if (isReopened || !/^[0-9a-f]{32}$/.test(trace ?? '')) return;
  isReopened = true;
  openTrace(trace, wanted().get('span'));
}

for (const name of FIELDS) form.elements[name].value = wanted().get(name) ?? '';
if (!document.hidden) connect();
