// One tier of one series: the averages as a line, in a band from the smallest to the largest sample,
// and a text.

import {duration, element, number, time} from './format.js';

const mostWindows = 360;  // in a chart: an hour of 10s windows
const leastWindows = 30;  // a chart's narrowest range, so that a first window does not fill it

const tierWords = {'10s': '10-second', '1m': '1-minute', '1h': '1-hour', '1d': '1-day'};

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class TierChart {
  constructor(parent, tier) {
    this.tier = tier;
    this.windows = new Map(); // by start, ms
    this.root = element('figure');
    this.root.dataset.tier = tier.tier;
    const head = element('figcaption');
    this.title = element('h3', '', `${tierWords[tier.tier] || tier.tier} windows`);
    this.span = element('span', 'span');
    this.readout = element('output', 'readout');
    head.append(this.title, this.span, this.readout);
    this.plotBox = element('div', 'plot');
    this.note = element('p', 'note');
    this.plotBox.append(this.note);
    this.root.append(head, this.plotBox);
    parent.append(this.root);
    this.resize = new ResizeObserver(() => this.plot && this.plot.setSize(this.size()));
    this.resize.observe(this.plotBox);
  }

  // range is what to request from the API.
  range(now) {
    return {from: now - (mostWindows + 1) * this.tier.size, to: now + this.tier.size, limit: mostWindows + 10};
  }

  clear(words) {
    this.windows.clear();
    this.words = words;
    this.draw(Date.now());
  }

  // merge adds windows; of two with the same start, the higher revision wins.
  merge(windows) {
    for (const w of windows) {
      const old = this.windows.get(w.start);
      if (!old || old.revision <= w.revision) this.windows.set(w.start, w);
    }
  }

  size() {
    return {width: Math.max(200, this.plotBox.clientWidth), height: Math.max(120, this.plotBox.clientHeight)};
  }

  // restyle redraws with the colours of the current scheme.
  restyle(now) {
    if (this.plot) this.plot.destroy();
    this.plot = null;
    this.draw(now);
  }

  draw(now) {
    const oldest = now - mostWindows * this.tier.size;
    for (const start of this.windows.keys()) if (start < oldest - this.tier.size) this.windows.delete(start);
    const list = [...this.windows.values()].sort((a, b) => a.start - b.start);
    this.list = list;
    this.root.dataset.windows = list.length;
    this.note.hidden = list.length > 0;
    this.note.textContent = this.words || this.emptyWords(now);
    if (list.length === 0) {
      if (this.plot) this.plot.destroy();
      this.plot = null;
      this.span.textContent = '';
      this.readout.replaceChildren();
      return;
    }
    this.words = '';
    const from = Math.max(oldest, Math.min(list[0].start, now - leastWindows * this.tier.size));
    this.xRange = [from / 1000, Math.max(now, list[list.length - 1].end) / 1000];
    const quiet = now - list[list.length - 1].end;
    this.span.textContent = `last ${duration(now - from)}` +
      (quiet > Math.max(60e3, 3 * this.tier.size) ? ` · nothing new for ${duration(quiet)}` : '');
    const data = this.columns(list);
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.options(), data, this.plotBox);
    this.showReadout(this.plot.cursor.idx);
  }

  emptyWords(now) {
    const ends = (Math.floor(now / this.tier.size) + 1) * this.tier.size;
    const wait = this.tier.size >= 60e3 ? ` The open one ends at ${time(ends, false)}, in ${duration(Math.max(1e3, ends - now))}.` : '';
    return `No ${this.title.textContent} in the last ${duration(mostWindows * this.tier.size)}.${wait}`;
  }

  // columns places each window at its middle, and a gap where windows are missing.
  columns(list) {
    const x = [], lo = [], hi = [], avg = [];
    this.at = []; // the window of each point; null in a gap
    const put = (ms, w) => {
      x.push(ms / 1000);
      lo.push(w ? w.min : null);
      hi.push(w ? w.max : null);
      avg.push(w && w.sum !== null ? w.sum / w.count : null);
      this.at.push(w);
    };
    let end = list[0].start;
    for (const w of list) {
      if (w.start > end) put((end + w.start) / 2, null);
      put((w.start + w.end) / 2, w);
      end = w.end;
    }
    return [x, lo, hi, avg];
  }

  showReadout(idx) {
    const hovered = idx === null || idx === undefined ? null : this.at[idx];
    const w = hovered || this.list[this.list.length - 1];
    const part = (name, value, className) => {
      const e = element('span', className || '');
      e.append(element('small', '', name), document.createTextNode(value));
      return e;
    };
    const seconds = this.tier.size < 60e3;
    const when = `${time(w.start, seconds)} – ${time(w.end, seconds)}`;
    this.readout.replaceChildren(
      part(hovered ? '' : 'newest ', when, 'when'),
      part('avg ', number(w.sum === null ? null : w.sum / w.count), 'avg'),
      part('min ', number(w.min)), part('max ', number(w.max)),
      part('', w.count === 1 ? '1 sample' : `${number(w.count)} samples`, 'count'),
    );
  }

  options() {
    const line = color('--line'), band = color('--band'), grid = color('--grid'), muted = color('--muted');
    const font = '11px system-ui, sans-serif';
    const edge = {stroke: 'transparent', width: 0, points: {show: false}};
    const isolated = (u, s, i) => {
      const a = u.data[s];
      return a[i] !== null && (i === 0 || a[i - 1] === null) && (i === a.length - 1 || a[i + 1] === null);
    };
    return {
      ...this.size(),
      legend: {show: false},
      padding: [8, 12, 0, 0],
      cursor: {y: false, drag: {x: false, y: false}, points: {size: 8, width: 0, fill: (u, s) => (s === 3 ? line : 'transparent')}},
      scales: {
        x: {time: true, range: () => this.xRange},
        y: {range: (u, lo, hi) => yRange(lo, hi)},
      },
      series: [
        {},
        edge, edge,
        {stroke: line, width: 2, points: {show: true, size: 5, fill: line, stroke: line, filter: (u, s) => {
          const ids = [];
          for (let i = 0; i < u.data[s].length; i++) if (isolated(u, s, i)) ids.push(i);
          return ids;
        }}},
      ],
      bands: [{series: [2, 1], fill: band}],
      axes: [
        {stroke: muted, font, grid: {show: false}, ticks: {stroke: grid, size: 4}, size: 28, space: 70, values: xLabels},
        {stroke: muted, font, grid: {stroke: grid, width: 1}, ticks: {show: false}, size: 58, space: 32, values: (u, ticks) => ticks.map(number)},
      ],
      hooks: {setCursor: [(u) => this.showReadout(u.cursor.idx)]},
    };
  }
}

// xLabels writes local times, and the day where a new one begins.
function xLabels(u, ticks, axis, space, step) {
  let last = '';
  return ticks.map((t, i) => {
    const d = new Date(t * 1000), date = d.toDateString();
    const newDay = date !== last;
    last = date;
    const dayText = d.toLocaleDateString(undefined, {day: 'numeric', month: 'short'});
    if (step >= 86400) return dayText;
    if (newDay && i > 0) return dayText;
    return d.toLocaleTimeString(undefined, {hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...(step < 60 ? {second: '2-digit'} : {})});
  });
}

// yRange starts at zero if the values are near enough to it to be compared with it, and keeps values
// that hardly differ from looking dramatic.
function yRange(lo, hi) {
  if (lo === null || hi === null) return [0, 1];
  const size = Math.max(Math.abs(lo), Math.abs(hi));
  if (size === 0) return [0, 1];
  const room = Math.max((hi - lo) * 0.08, (size * 0.1 - (hi - lo)) / 2);
  if (lo >= 0 && lo < hi * 0.6) return [0, hi + room];
  if (hi <= 0 && hi > lo * 0.6) return [lo - room, 0];
  return [lo - room, hi + room];
}
