// The devices that send flow records, and the senders of something else.

import { byId, make, makeRow, setText, steady, syncRows } from './dom.js';
import { bits, count, percent, plural, short, span } from './format.js';

const VERSIONS = { v1: 'NetFlow v1', v5: 'NetFlow v5', v7: 'NetFlow v7', v9: 'NetFlow v9', ipfix: 'IPFIX', sflow: 'sFlow v5' };
const ORIGINS = { header: 'announced in headers', record: 'announced in records', options: 'announced in options data', config: 'configured here' };

let only = () => {};

export const onExporter = (filter) => {
  only = filter;
};

export function showExporters({ total, exporters }) {
  byId('exporters-empty').hidden = exporters.length > 0;
  byId('exporters').hidden = exporters.length === 0;
  const note = total > exporters.length ? `the latest ${count(exporters.length)} of ${count(total)}` : total > 0 ? String(total) : '';
  setText(byId('exporters-note'), note);
  const create = ({ address }) => {
    const row = makeRow('address', 'nowrap', 'number', 'number', 'number', 'number', 'number', 'nowrap', 'nowrap', 'remarks');
    row.cells[0].append(make('button', { className: 'link', 'aria-label': `Only traffic of ${address}`, on: { click: () => only(address) } }, address));
    return row;
  };
  const table = byId('exporters').tBodies[0];
  const key = (row) => row.address;
  syncRows(table, steady(table, exporters, key), key, create, update);
}

function update(row, exporter) {
  const cells = row.cells;
  setText(cells[1], protocols(exporter));
  setText(cells[2], exporter.traffic === null ? '–' : `${bits(exporter.traffic)}/s`);
  setText(cells[3], exporter.rates ? short(exporter.rates.flows) : '–');
  setText(cells[4], exporter.rates ? short(exporter.rates.datagrams) : '–');
  const lost = loss(exporter);
  // Of one that sends nothing readable, nothing is known.
  setText(cells[5], exporter.proven ? percent(lost.share) : '–');
  cells[5].title = lost.text;
  cells[5].classList.toggle('bad-text', lost.share > 0);
  setText(cells[6], exporter.versions.some((version) => version === 'v9' || version === 'ipfix') ? count(exporter.templates) : '–');
  const { sampling } = exporter;
  const unsampled = exporter.proven ? 'none' : '–';
  setText(cells[7], sampling ? `1 : ${count(sampling.interval)}` : unsampled);
  cells[7].title = sampling ? ORIGINS[sampling.origin] ?? sampling.origin : '';
  setText(cells[8], exporter.last_seen ? ago(Date.parse(exporter.last_seen)) : '–');
  const all = remarks(exporter);
  if (cells[9].textContent !== all.join('')) cells[9].replaceChildren(...all.map((text) => make('span', { className: 'remark' }, text)));
}

/** What an exporter sends, and over what if that is not UDP alone. */
function protocols({ versions, transports }) {
  const text = versions.map((version) => VERSIONS[version] ?? version).join(', ') || 'unknown';
  const isUdp = transports.length === 0 || transports.join() === 'udp';
  return isUdp ? text : `${text} over ${transports.map((transport) => transport.toUpperCase()).join(', ')}`;
}

function ago(millis) {
  const seconds = (Date.now() - millis) / 1000;
  return seconds < 2 ? 'now' : `${span(seconds)} ago`;
}

/** Loss by sequence numbers, in the version's own unit. */
function loss({ lost, flows, datagrams }) {
  const parts = Object.entries(lost).filter(([, number]) => number > 0);
  let share = 0;
  for (const [unit, number] of parts) {
    const came = unit === 'flows' || unit === 'records' ? flows : datagrams;
    share = Math.max(share, number / Math.max(1, number + came));
  }
  return { share, text: parts.map(([unit, number]) => `${count(number)} ${unit} missing by sequence numbers`).join(', ') || 'nothing is missing by sequence numbers' };
}

function remarks(exporter) {
  const { warnings, awaited, clock_ahead_ms: ahead, rejected, rate_limited: limited, sets_waiting: waiting } = exporter;
  const sentences = {
    waits_for_template: () => {
      const ids = awaited.map(({ domain, template }) => (domain ? `${template} of domain ${domain}` : String(template)));
      return `${plural(waiting, 'Set')} awaiting template ${ids.join(', ')}`;
    },
    clock_differs: () => `clock ${span(Math.abs(ahead) / 1000)} ${ahead > 0 ? 'ahead' : 'behind'}`,
    records_lost: () => loss(exporter).text,
    rate_limited: () => `${plural(limited, 'datagram')} over NETFLOW_MAX_RATE_PER_EXPORTER`,
    datagrams_rejected: () => `${plural(rejected, 'datagram')} not usable, or not whole`,
  };
  const all = warnings.map((warning) => sentences[warning]?.() ?? warning.replaceAll('_', ' '));
  if (exporter.looks_like) all.unshift(`sends what looks like ${exporter.looks_like}`);
  return exporter.proven ? all : ['nothing readable so far', ...all];
}
