// States, findings, figures over time, delivery and accounts: everything that comes from counters.

import { Chart, MEAN, meanAt } from './chart.js';
import { byId, make, makeRow, setText, syncRows } from './dom.js';
import { bits, count, octets, percent, plural, short, span, time } from './format.js';

/** As many samples as the server keeps. */
const MAX_SAMPLES = 900;

const figures = { flows: short, datagrams: short, octets };
const names = { flows: 'Flow records', datagrams: 'Datagrams', octets: 'Bytes' };
const charts = {};
const history = { at: [], flows: [], datagrams: [], octets: [] };

for (const [key, show] of Object.entries(figures)) {
  const place = byId(`figure-${key}`);
  const value = make('span', { className: 'value' }, '–');
  const unit = make('span', { className: 'unit', title: `mean over ${MEAN} seconds` }, 'per second');
  place.append(make('p', { className: 'now' }, value, ' ', unit));
  charts[key] = { value, chart: new Chart(place, names[key], show) };
}

/** Flows are reported up to so many seconds after their octets; until then their seconds are incomplete. */
const COMPLETE_AFTER = 60;
let trafficLooks = 0;

/** Octets of the flows, each spread over its duration. */
export function showTraffic({ end, octets: seconds }) {
  traffic ??= makeTraffic();
  trafficLooks += 1;
  traffic.chart.draw(seconds.map((_, index) => end - (seconds.length - index) * 1000), seconds);
  const complete = seconds.slice(-2 * COMPLETE_AFTER, -COMPLETE_AFTER);
  const isComplete = trafficLooks > 2 * COMPLETE_AFTER;
  const mean = complete.reduce((sum, value) => sum + value, 0) / complete.length;
  setText(traffic.value, isComplete ? `${bits(mean)}/s` : '–');
  setText(traffic.unit, isComplete ? '1 min ago' : 'collecting');
}

let traffic = null;
function makeTraffic() {
  const place = byId('figure-traffic');
  const value = make('span', { className: 'value' }, '–');
  const title = 'The bytes of each flow are spread over its duration, and multiplied by the sampling interval. The last minute is incomplete until its flows are reported.';
  const unit = make('span', { className: 'unit', title });
  place.append(make('p', { className: 'now' }, value, ' ', unit));
  return { value, unit, chart: new Chart(place, 'Traffic in flows', bits) };
}

export function showHistory(past) {
  for (const key of Object.keys(history)) history[key] = past[key].slice();
  drawFigures();
}

function addSample(rates) {
  history.at.push(rates.at);
  for (const key of Object.keys(figures)) history[key].push(rates[key]);
  if (history.at.length > MAX_SAMPLES) for (const key of Object.keys(history)) history[key].shift();
  drawFigures();
}

function drawFigures() {
  for (const [key, show] of Object.entries(figures)) {
    const last = history[key].length - 1;
    setText(charts[key].value, last < 0 ? '–' : show(meanAt(history[key], last)));
    charts[key].chart.draw(history.at, history[key]);
  }
}

export function showStatus({ status, rates, findings }) {
  addSample(rates);
  const quiet = findings.find((finding) => ['nothing_received', 'silence', 'none_readable', 'awaits_templates'].includes(finding.code));
  const isBad = quiet?.code === 'none_readable' || status.phase === 'failed';
  setState('state-receiving', isBad ? 'bad' : quiet ? 'idle' : 'good', {
    nothing_received: 'waiting for datagrams',
    silence: 'silent',
    none_readable: 'nothing readable',
    awaits_templates: 'awaiting templates',
  }[quiet?.code] ?? (status.phase === 'running' ? 'receiving' : status.phase));
  setText(byId('version'), `version ${status.version}`);
  setText(byId('uptime'), `up ${span(status.uptime_seconds)}`);
  showFindings(findings);
  showDelivery(status.delivery);
  showAccounts(status.accounts);
}

/** The page has no news: what it shows is the last state. */
export function showDisconnected() {
  setState('state-receiving', 'idle', 'not connected');
  byId('state-delivery').hidden = true;
}

function setState(id, level, text) {
  const state = byId(id);
  state.hidden = false;
  state.dataset.level = level;
  setText(state, text);
}

let findingsShown = '';

function showFindings(findings) {
  const text = JSON.stringify(findings);
  if (text === findingsShown) return;
  findingsShown = text;
  const place = byId('findings');
  // A sentence in which only a number changes is no news: it is updated in place.
  const known = new Map([...place.children].map((child) => [child.dataset.code, child]));
  for (const finding of findings) {
    const article = known.get(finding.code) ?? make('article', {});
    known.delete(finding.code);
    article.dataset.code = finding.code;
    article.className = `finding ${finding.level}`;
    const body = [make('div', {}, ...finding.text.map((paragraph) => make('p', {}, paragraph)))];
    if (finding.commands.length) {
      const items = finding.commands.map(([purpose, line]) => make('li', {}, make('span', {}, purpose), make('code', {}, line)));
      body.push(make('ul', { className: 'commands' }, ...items));
    }
    const parts = [make('h2', {}, finding.title), make('div', { className: 'finding-body' }, ...body)];
    const isSame = article.textContent === parts.map((part) => part.textContent).join('');
    if (!isSame) article.replaceChildren(...parts);
    place.append(article);
  }
  for (const article of known.values()) article.remove();
  place.hidden = findings.length === 0;
}

const BACKEND = { up: ['good', 'delivering'], away: ['bad', 'backend unreachable'], untried: ['idle', 'nothing sent yet'], none: ['idle', 'no backend'] };

function showDelivery(delivery) {
  const [level, words] = BACKEND[delivery.backend] ?? ['idle', delivery.backend];
  setState('state-delivery', level, words);
  const place = { console: 'standard output', none: 'nowhere: OTEL_TRACES_EXPORTER is none' }[delivery.exporter];
  setText(byId('delivery-place'), place ?? `${delivery.endpoint} over ${delivery.protocol}`);
  const { queue, requests, spans } = delivery;
  const dropped = Object.entries(spans.dropped).filter(([, number]) => number.flow > 0);
  const droppedAll = dropped.reduce((sum, [, number]) => sum + number.flow, 0);
  const facts = [
    ['acknowledged', 'Acknowledged', count(spans.accepted.flow), 'flow spans'],
    ['rejected', 'Rejected', count(spans.rejected.flow), 'by the backend', spans.rejected.flow > 0],
    ['dropped', 'Dropped here', count(droppedAll), dropped.map(([reason]) => reason.replace('_', ' ')).join(', ') || 'none', droppedAll > 0],
    ['flight', 'In flight', count(spans.in_flight.flow), `in ${count(requests.in_flight)} of ${plural(requests.in_flight_limit, 'request')}`],
    ['queue', 'Queue', octets(queue.octets), `of ${octets(queue.limit)}, ${plural(queue.batches, 'batch', 'batches')}`, queue.octets > queue.limit / 2, queue.octets / queue.limit],
    spoolFact(delivery.spool),
    ['retries', 'Retries', count(requests.retries), `of ${plural(requests.sent, 'request')}`],
  ];
  const list = byId('delivery-facts');
  syncRows(list, facts, ([key]) => key, makeFact, updateFact);
  const error = byId('delivery-error');
  error.hidden = !delivery.last_error;
  if (delivery.last_error) {
    const [when, what] = error.childElementCount ? error.children : [make('strong', {}), make('span', {})];
    setText(when, `Last error, ${time(Date.parse(delivery.last_error.at))}: `);
    setText(what, delivery.last_error.text);
    if (!error.childElementCount) error.append(when, what);
  }
}

function spoolFact(spool) {
  if (!spool) return ['spool', 'Spool', 'off', 'no disk queue'];
  const isFailing = spool.state === 'failing';
  const note = isFailing ? 'cannot be written' : `of ${octets(spool.limit)} on disk`;
  return ['spool', 'Spool', octets(spool.octets), note, isFailing, spool.octets / spool.limit];
}

function makeFact() {
  return make('div', {}, make('dt', {}), make('dd', {}, make('strong', {}), make('span', {}), make('i', { className: 'level', hidden: true }, make('i', {}))));
}

function updateFact(row, [, title, value, note, isBad, share]) {
  row.classList.toggle('bad', Boolean(isBad));
  setText(row.firstChild, title);
  const [strong, more, level] = row.lastChild.children;
  setText(strong, value);
  setText(more, note);
  level.hidden = share === undefined;
  level.firstChild.style.width = `${Math.min(100, (share ?? 0) * 100)}%`;
}

function showAccounts(accounts) {
  const open = accounts.filter((account) => account.difference !== 0);
  // Under load what moves at the moment of reading may be seen twice or not at all.
  setText(byId('accounts-summary'), open.length ? 'Accounts: in motion' : 'Accounts: nothing unaccounted for');
  syncRows(byId('accounts').tBodies[0], accounts, (account) => account.name, () => makeRow('', 'number', 'parts', 'number'), (row, account) => {
    const [what, total, parts, difference] = row.cells;
    setText(what, account.counts);
    setText(total, count(account.total));
    const all = account.parts.filter((part) => part.value > 0);
    setText(parts, all.map((part) => `${count(part.value)} ${part.name.replaceAll('_', ' ')}`).join(' + ') || '–');
    setText(difference, count(account.difference));
  });
}

