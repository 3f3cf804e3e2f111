// An area over time, drawn as one path. Samples of a second in, their means out.

import { make, makeSvg, setText } from './dom.js';
import { span, time } from './format.js';

const HEIGHT = 100;
const WIDTH = 600;
/** Windows in seconds. */
const WINDOWS = [60, 300, 900];
/** A point is the mean of so many seconds: exporters send in bursts. */
export const MEAN = 5;

/** The mean of the values up to and with an index. */
export function meanAt(values, index) {
  const latest = values.slice(Math.max(0, index - MEAN + 1), index + 1);
  return latest.reduce((sum, value) => sum + value, 0) / Math.max(1, latest.length);
}

/** The smallest of 1, 2, 2.5, 5 times a power of ten that isn't below. */
function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

export class Chart {
  /** `show` turns a value into text; `name` is for screen readers. */
  constructor(place, name, show) {
    this.name = name;
    this.show = show;
    this.area = makeSvg('path', { class: 'area' });
    this.line = makeSvg('path', { class: 'line', 'vector-effect': 'non-scaling-stroke' });
    const middle = makeSvg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2, 'vector-effect': 'non-scaling-stroke' });
    this.svg = makeSvg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, middle, this.area, this.line);
    this.top = make('span', { className: 'tick top' });
    this.from = make('span', { className: 'tick from' });
    this.cross = make('span', { className: 'cross', hidden: true });
    this.tip = make('span', { className: 'tip', hidden: true });
    this.plot = make('div', { className: 'plot' }, this.svg, this.top, this.cross, this.tip);
    place.append(this.plot, make('div', { className: 'axis' }, this.from, make('span', { className: 'tick' }, 'now')));
    this.plot.addEventListener('pointermove', (event) => this.point(event));
    this.plot.addEventListener('pointerleave', () => this.leave());
    this.points = [];
  }

  /** Draws the samples, oldest first, of which `at` are the times in milliseconds. */
  draw(at, values) {
    const seconds = WINDOWS.find((length) => values.length <= length) ?? WINDOWS.at(-1);
    // In the longest window a point for each mean is enough. It stands still while it moves to the left.
    const step = seconds === WINDOWS.at(-1) ? MEAN : 1;
    const now = at.at(-1) ?? 0;
    const points = [];
    for (let index = 0; index < values.length; index += 1) {
      const isLast = index === values.length - 1;
      const slot = seconds - (now - at[index]) / 1000;
      if (slot >= 0 && (isLast || Math.round(at[index] / 1000) % step === 0)) {
        points.push([slot, meanAt(values, index), at[index]]);
      }
    }
    this.slots = seconds;
    this.points = points;
    const peak = Math.max(0, ...points.map(([, value]) => value));
    this.max = roundUp(peak);
    const x = (slot) => ((slot / this.slots) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - (value / this.max) * (HEIGHT - 2)).toFixed(1);
    const path = points.map(([slot, value], index) => `${index ? 'L' : 'M'}${x(slot)} ${y(value)}`).join('');
    this.line.setAttribute('d', path);
    const area = points.length ? `${path}L${x(points.at(-1)[0])} ${HEIGHT}L${x(points[0][0])} ${HEIGHT}Z` : '';
    this.area.setAttribute('d', area);
    setText(this.from, `${span(seconds)} ago`);
    setText(this.top, peak > 0 ? this.show(this.max) : '');
    this.svg.setAttribute('aria-label', `${this.name} over ${span(seconds)}: at most ${this.show(peak)} per second`);
  }

  point(event) {
    const box = this.plot.getBoundingClientRect();
    const slot = ((event.clientX - box.left) / box.width) * this.slots;
    let nearest = null;
    for (const point of this.points) {
      if (!nearest || Math.abs(point[0] - slot) < Math.abs(nearest[0] - slot)) nearest = point;
    }
    this.cross.hidden = this.tip.hidden = !nearest;
    if (!nearest) return;
    const left = (nearest[0] / this.slots) * 100;
    this.cross.style.left = `${left}%`;
    this.tip.style.left = `${Math.min(Math.max(left, 14), 86)}%`;
    setText(this.tip, `${time(nearest[2])}  ${this.show(nearest[1])}/s`);
  }

  leave() {
    this.cross.hidden = this.tip.hidden = true;
  }
}
