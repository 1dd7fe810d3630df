// weir's page: the windows of a series in each tier, as they close, and the alerts. It asks the HTTP
// API (docs/api.md) and follows /live; the address has the selected series.

import {ask} from './ask.js';
import {chips, duration, element, number, shown, splitSeries, time, write} from './format.js';
import {TierChart} from './chart.js';
import {follow} from './stream.js';

const $ = (id) => document.getElementById(id);
const mostListed = 2000;  // series requested at once
const mostShown = 300;    // of them, how many are listed
const retryAfter = 3000;  // ms

const page = {
  charts: [],        // one TierChart per tier
  skew: 0,           // server clock minus ours, ms
  host: '',
  all: [],           // the loaded series: {series, metric, labels}
  more: false,       // the server has more
  selected: '',      // canonical text
  alerts: new Map(), // by fingerprint
  stream: null,      // shared by all tabs
  fresh: false,      // a series is selected whose windows have not been read yet
};

const now = () => Date.now() + page.skew;

function problem(text) {
  $('problem').textContent = shown(text, 600);
  $('problem').hidden = text === '';
}

function connection(state, text) {
  $('connection').dataset.state = state;
  $('connection').lastElementChild.textContent = text;
}

// ---- series ----

async function loadSeries(params = {}) {
  const body = await ask('api/v1/series', {limit: mostListed, ...params});
  page.all = body.series;
  page.more = Boolean(body.after);
  listSeries();
}

function listSeries() {
  const terms = $('query').value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = page.all.filter((s) => {
    const text = s.series.toLowerCase();
    return terms.every((t) => text.includes(t) || text.includes(t.replace(':', '="')));
  });
  $('series').replaceChildren(...found.slice(0, mostShown).map((s) => {
    const link = element('a');
    link.href = `#series=${encodeURIComponent(s.series)}`;
    if (s.series === page.selected) link.setAttribute('aria-current', 'true');
    link.dataset.series = s.series;
    link.title = shown(s.series, 5000);
    link.append(element('b', '', s.metric));
    const labels = Object.entries(s.labels).map(([n, v]) => `${n}=${v}`).join('  ');
    if (labels) link.append(element('small', '', labels));
    const li = element('li');
    li.append(link);
    return li;
  }));
  $('series-count').textContent = page.all.length ? `${found.length}${page.more ? '+' : ''}` : '';
  let note = '';
  if (page.all.length === 0 && terms.length === 0) note = 'No series yet. They appear here when their first window closes, some 12 seconds after the first sample. “weir agent” sends this machine’s own.';
  else if (found.length === 0) note = page.more ? 'No match among the loaded series. Press Enter to ask weir for this metric or label:value.' : 'No series contains this text.';
  else if (found.length > mostShown) note = `${found.length - mostShown} more: type to narrow the list.`;
  else if (page.more) note = `These are the first ${mostListed} series. Press Enter to ask weir for a metric or label:value.`;
  $('series-note').textContent = note;
}

// search asks the server, which may have more series than are loaded: a word is a metric's whole
// name, label:value pairs are matched.
function search() {
  const params = {};
  const terms = $('query').value.split(/\s+/).filter(Boolean);
  const metric = terms.find((t) => !t.includes(':'));
  const match = terms.filter((t) => t.includes(':'));
  if (metric) params.metric = metric;
  if (match.length) params.match = match.join(',');
  loadSeries(params).then(() => problem(''), (e) => problem(`Cannot search for series: ${e.message}.`));
}

// firstSeries is what a visitor without a link sees: this machine's CPU.
async function firstSeries() {
  if (page.host) {
    const own = await ask('api/v1/series', {metric: 'cpu.usage', match: `host:${JSON.stringify(page.host)}`, limit: 50});
    const simplest = own.series.sort((a, b) => a.series.length - b.series.length)[0];
    if (simplest) return simplest.series;
  }
  const cpu = page.all.find((s) => s.metric === 'cpu.usage') || page.all[0];
  return cpu ? cpu.series : '';
}

function hashSeries() {
  const text = new URLSearchParams(location.hash.slice(1)).get('series');
  return text || '';
}

function select(series) {
  page.selected = series;
  if (series && series !== hashSeries()) history.replaceState(null, '', `#series=${encodeURIComponent(series)}`);
  const {metric, labels} = splitSeries(series);
  write($('selected'), metric || 'No series selected');
  chips($('labels'), labels);
  for (const a of $('series').querySelectorAll('a')) {
    if (a.dataset.series === series) a.setAttribute('aria-current', 'true');
    else a.removeAttribute('aria-current');
  }
  for (const c of page.charts) c.clear(series ? 'Loading…' : 'Select a series to see its windows.');
  titlePage();
  connect();
}

async function loadWindows() {
  const series = page.selected;
  if (!series) return;
  await Promise.all(page.charts.map((chart) => loadTier(chart, series)));
}

async function loadTier(chart, series) {
  try {
    const windows = await ask('api/v1/windows', {series, tier: chart.tier.tier, ...chart.range(now())});
    if (series !== page.selected) return; // another was selected meanwhile
    chart.words = '';
    chart.merge(windows);
  } catch (e) {
    if (series !== page.selected) return;
    chart.words = `Cannot read these windows: ${e.message}.`;
  }
  chart.draw(now());
}

// ---- alerts ----

async function loadAlerts() {
  try {
    const body = await ask('api/v1/alerts');
    page.alerts = new Map(body.data.alerts.map((a) => [a.fingerprint, a]));
    page.alertsProblem = '';
  } catch (e) {
    page.alertsProblem = `Cannot read the alerts: ${e.message}.`;
  }
  listAlerts();
}

const urgency = {firing: 0, pending: 1, resolved: 2};
const since = (a) => Date.parse((a.state === 'resolved' && a.resolvedAt) || (a.state === 'firing' && a.firedAt) || a.activeAt);

function listAlerts() {
  const list = [...page.alerts.values()].sort((a, b) => urgency[a.state] - urgency[b.state] || since(b) - since(a));
  const open = new Set([...$('alerts').querySelectorAll('details[open]')].map((d) => d.dataset.fingerprint));
  $('alerts').replaceChildren(...list.map((a) => alertItem(a, open.has(a.fingerprint))));
  const count = (state) => list.filter((a) => a.state === state && !a.shadow).length;
  const firing = count('firing'), pending = count('pending');
  const shadows = list.filter((a) => a.shadow && a.state !== 'resolved').length;
  $('alerts-count').textContent = list.length ? `${firing} firing, ${pending} pending${shadows ? `, ${shadows} shadow` : ''}` : '';
  $('alerts-note').textContent = page.alertsProblem || (list.length ? '' : 'Nothing is pending or firing, and nothing was resolved in the last hour.');
  $('summary').textContent = firing ? `${firing} firing` : '';
  $('summary').hidden = firing === 0;
  titlePage();
}

function alertItem(a, open) {
  const li = element('li', `alert ${a.state in urgency ? a.state : ''}`);
  const head = element('div', 'alert-head');
  head.append(element('span', 'state', a.state), element('b', '', a.labels.alertname || a.rule));
  if (a.shadow) {
    const shadow = element('span', 'shadow', 'shadow');
    shadow.title = 'its rule is a shadow: nobody is told';
    head.append(shadow);
  }
  const value = element('span', 'value', a.noDataSince ? 'no data' : number(parseFloat(a.value)));
  value.title = a.noDataSince ? 'its series fell silent' : 'value in the last window that was checked';
  head.append(value);
  const when = element('p', 'when');
  const start = since(a);
  const ago = element('span', 'ago', ` · ${duration(now() - start)}`);
  ago.dataset.since = start;
  when.append(document.createTextNode(`since ${time(start)}`), ago);
  li.append(head, when);
  if (a.noDataSince) li.append(element('p', 'summary', `no data since ${time(Date.parse(a.noDataSince))}, when the value was ${number(parseFloat(a.value))}`));
  const words = a.annotations.summary || a.annotations.description;
  if (words) li.append(element('p', 'summary', words));
  const labels = element('ul', 'chips');
  chips(labels, Object.entries(a.labels).filter(([n]) => n !== 'alertname'));
  li.append(labels);
  if (a.history.length) {
    const details = element('details');
    details.dataset.fingerprint = a.fingerprint;
    details.open = open;
    const steps = element('ol');
    for (const h of [...a.history].reverse()) {
      const step = element('li');
      step.append(element('span', '', time(Date.parse(h.at))), document.createTextNode(` ${h.from} → ${h.to}`));
      if (h.reason || h.shadow) step.append(element('small', '', ` ${h.reason}${h.shadow ? ' (shadow)' : ''}`));
      steps.append(step);
    }
    details.append(element('summary', '', 'History'), steps);
    li.append(details);
  }
  return li;
}

// ---- limits ----

// beyond describes why samples were collapsed or refused.
const beyond = {
  series_limit: 'beyond max_series',
  metric_limit: 'beyond max_series_per_metric',
  total_limit: 'beyond max_series_total',
  rate_limit: 'beyond max_rate',
  group_limit: 'beyond max_groups',
  bytes_limit: 'beyond max_group_bytes',
  future: 'from the future',
  too_old: 'beyond max_age',
  bad_series: 'of a series that cannot be read',
};

// loadLimits shows the sources with something wrong, of the shards that this process owns, and tells
// if those are not all shards.
async function loadLimits() {
  const nothing = {sources: [], total: 0, owned: 0, shards: 0, late: []};
  const body = await ask('api/v1/top', {by: 'named', limit: 50}).catch((e) => ({...nothing, unowned: e.status === 503}));
  let note = '';
  if (body.unowned) note = 'This process keeps no windows, so it does not know who is over a limit: ask processes that do, with weir top --url.';
  else if (body.owned < body.shards) note = `This process knows only its own ${body.owned} of ${body.shards} shards: weir top asks several.`;
  sayLate(body.late || []);
  $('limits').hidden = body.sources.length === 0 && note === '';
  $('limits-box').hidden = body.sources.length === 0;
  $('limits-count').textContent = body.total === 0 ? '' : body.total === 1 ? '1 source' : `${body.total} sources`;
  $('limits-list').replaceChildren(...body.sources.map(sourceItem));
  $('limits-note').textContent = note;
}

// sayLate tells that the pipeline is late, and which partitions stand still.
function sayLate(late) {
  const each = late.slice(0, 4).map((p) => {
    const words = [p.level ? `since ${time(p.level)}` : 'since when is not known'];
    if (p.waiting) words.push(`${number(p.waiting)} records wait`);
    if (p.owner) words.push(`owner ${p.owner}`);
    return `${p.partition} (${words.join(', ')})`;
  });
  if (late.length > each.length) each.push(`and ${late.length - each.length} more`);
  write($('late'), `The pipeline is late: route does not hand on ${late.length === 1 ? 'partition' : 'partitions'} ${each.join(', ')} of metrics. Windows that get samples from there wait.`, 2000);
  $('late').hidden = late.length === 0;
}

const samples = (n) => (n === 1 ? '1 sample' : `${number(n)} samples`);

function sourceItem(s) {
  const li = element('li', 'source');
  li.append(element('b', '', s.source));
  const say = (text) => li.append(element('p', '', text));
  for (const [limit, n] of Object.entries(s.collapsed || {})) say(`${samples(n)} ${beyond[limit] || limit}: counted as __overflow__`);
  if (s.collapsed && s.largestMetric) say(`${number(s.largestSeries)} of its ${number(s.series)} series are of ${s.largestMetric}`);
  for (const [reason, n] of Object.entries(s.refused || {})) say(`${samples(n)} ${beyond[reason] || reason}: refused`);
  if (s.clock === 'fast') say(`Its clock is ${duration(s.ahead || -s.delay)} fast`);
  if (s.clock === 'slow') say(`Its clock is ${duration(s.delay)} slow, or its samples are held up`);
  li.append(element('p', 'when', `last at ${time(s.last)}`));
  return li;
}

function titlePage() {
  const firing = [...page.alerts.values()].filter((a) => a.state === 'firing' && !a.shadow).length;
  const {metric} = splitSeries(page.selected);
  document.title = `${firing ? `(${firing}) ` : ''}${metric ? `${shown(metric, 80)} · ` : ''}weir`;
}

// ---- live ----

function connect() {
  if (!page.stream) page.stream = follow(hear);
  page.fresh = true;
  page.stream.want(page.selected);
}

function hear(message) {
  switch (message.kind) {
    case 'open':
      connection('live', 'live');
      // falls through: windows that closed before the stream opened are read; both are merged by window
    case 'lost':
      page.fresh = false;
      loadWindows();
      loadAlerts();
      loadLimits();
      return;
    case 'broken':
      connection('lost', 'not live, trying again');
      if (page.fresh) loadWindows(); // weir may answer although it streams to no more readers
      page.fresh = false;
      return;
    case 'window':
      return takeWindow(message.data);
    case 'alert':
      return takeAlert(message.data);
  }
}

function takeWindow(w) {
  const chart = page.charts.find((c) => c.tier.tier === w.tier);
  if (!chart || w.series !== page.selected) return;
  if (w.part) { // one of several parts, which the API merges
    setTimeout(loadTier, 2000, chart, w.series);
    return;
  }
  chart.merge([w]);
  chart.draw(now());
}

function takeAlert(a) {
  if (a.state in urgency) page.alerts.set(a.fingerprint, a);
  else page.alerts.delete(a.fingerprint);
  listAlerts();
}

// ---- start ----

async function start() {
  try {
    const status = await ask('api/v1/status');
    page.skew = status.now - Date.now();
    page.host = status.host;
    write($('host'), status.host, 60);
    if (page.charts.length === 0) page.charts = status.tiers.map((t) => new TierChart($('charts'), t));
    await loadSeries();
    problem('');
    select(hashSeries() || await firstSeries());
  } catch (e) {
    connection('lost', 'not connected');
    problem(`${e.message[0].toUpperCase()}${e.message.slice(1)}. Trying again every ${retryAfter / 1000} seconds.`);
    setTimeout(start, retryAfter);
  }
}

// refresh keeps the list up to date, and finds the first series of an empty weir.
async function refresh() {
  if (document.hidden || page.charts.length === 0) return;
  try {
    if (!$('query').value && !$('series').contains(document.activeElement)) await loadSeries();
    if (!page.selected && page.all.length) select(await firstSeries());
    await loadAlerts();
    await loadLimits();
  } catch { /* the connection indicator shows it */ }
}

$('query').addEventListener('input', () => {
  if ($('query').value === '') search();
  listSeries();
});
$('search').addEventListener('submit', (e) => {
  e.preventDefault();
  if (page.more) return search();
  const first = $('series').querySelector('a');
  if (first) first.click();
});
addEventListener('hashchange', () => {
  const series = hashSeries();
  if (series && series !== page.selected) select(series);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => page.charts.forEach((c) => c.restyle(now())));
setInterval(() => page.charts.forEach((c) => c.draw(now())), 5000);
setInterval(() => page.all.length === 0 && refresh(), retryAfter);
setInterval(refresh, 20000);
setInterval(() => { // in place: a new list would take the focus away
  for (const ago of document.querySelectorAll('.ago')) ago.textContent = ` · ${duration(now() - Number(ago.dataset.since))}`;
}, 5000);
start();
