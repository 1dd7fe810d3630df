// The page of the rules: what each applies to, what came of it, and what it costs.

import {ask} from './ask.js';
import {duration, element, number, shown, time, write} from './format.js';

const $ = (id) => document.getElementById(id);
const mostRules = 500; // those that cost the most
const askEvery = 10e3; // ms

const page = {rules: [], by: 'cost', skew: 0};
const now = () => Date.now() + page.skew;

// orders are what the table can be sorted by; what is larger, more urgent or newer comes first.
const urgency = {firing: 2, pending: 1, inactive: 0};
const orders = {
  state: (a, b) => urgency[b.state] - urgency[a.state] || b.cpuSeconds - a.cpuSeconds,
  name: (a, b) => (a.group + a.name < b.group + b.name ? -1 : 1),
  series: (a, b) => b.series - a.series,
  value: (a, b) => (parseFloat(b.lastValue) || 0) - (parseFloat(a.lastValue) || 0),
  last: (a, b) => Date.parse(b.lastEvaluation) - Date.parse(a.lastEvaluation),
  evaluations: (a, b) => b.evaluations - a.evaluations,
  mean: (a, b) => b.evaluationTime - a.evaluationTime,
  cost: (a, b) => b.cpuSeconds - a.cpuSeconds,
  bytes: (a, b) => b.stateBytes - a.stateBytes,
};

// amount writes a number with the unit that fits: units are [size, name], the largest first.
function amount(v, units) {
  if (!v) return '0';
  const [size, name] = units.find(([s]) => v >= s) || units[units.length - 1];
  return `${number(Number((v / size).toPrecision(3)))} ${name}`;
}
const seconds = (v) => amount(v, [[3600, 'h'], [60, 'min'], [1, 's'], [1e-3, 'ms'], [1e-6, 'µs'], [1e-9, 'ns']]);
const bytes = (v) => amount(v, [[2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB'], [1, 'B']]);

// cell is a cell of the table; one without a text says so.
function cell(className, text, title = '') {
  const td = element('td', className, text || '–');
  if (title) td.title = shown(title, 5000);
  return td;
}

function ruleRow(r, all) {
  const tr = element('tr', r.state in urgency ? r.state : '');
  const state = element('td');
  state.append(element('span', 'state', r.state));
  const name = element('td', 'rule');
  name.append(element('b', '', r.name), element('small', '', ` ${r.group}`));
  if (r.shadow) name.append(element('small', '', ' · shadow: nobody is told'));
  name.append(element('code', '', r.query));
  if (r.lastError) name.append(element('p', 'fault', `where: ${r.lastError}`));
  name.title = shown(`${r.file}:${r.line}\n${r.query}`, 5000);
  const last = Date.parse(r.lastEvaluation);
  const seen = last > 0;
  const cost = element('td', 'number cost', seconds(r.cpuSeconds));
  const share = all > 0 ? r.cpuSeconds / all : 0;
  const bar = element('meter');
  bar.value = share;
  bar.title = `${Math.round(100 * share)} % of what these rules cost`;
  cost.append(bar);
  tr.append(state, name,
    cell('number', number(r.series), `in ${r.shards} shards of this process`),
    cell('number', seen ? number(parseFloat(r.lastValue)) : ''),
    cell('when', seen ? `${duration(now() - last)} ago` : 'never', seen ? `the window that ended at ${time(last)}` : ''),
    cell('number', number(r.evaluations)), cell('number', r.evaluations ? seconds(r.evaluationTime) : ''), cost, cell('number', bytes(r.stateBytes)));
  return tr;
}

function list() {
  const all = page.rules.reduce((sum, r) => sum + r.cpuSeconds, 0);
  const body = document.querySelector('tbody');
  body.replaceChildren(...[...page.rules].sort(orders[page.by]).map((r) => ruleRow(r, all)));
  for (const th of document.querySelectorAll('th')) {
    if (th.dataset.by === page.by) th.setAttribute('aria-sort', 'descending');
    else th.removeAttribute('aria-sort');
  }
  document.querySelector('table').hidden = page.rules.length === 0;
}

async function load() {
  let notes = [];
  try {
    const {data, warnings} = await ask('api/v1/rules', {by: 'cost', limit: mostRules, exclude_alerts: true});
    page.rules = data.groups.flatMap((g) => g.rules.map((r) => ({...r, group: g.name, file: g.file})));
    notes = warnings || [];
    const more = data.total - page.rules.length;
    if (more > 0) notes.push(`${more} more rules cost less`);
    if (data.total === 0) notes.push('No rules are loaded: name their files in the config’s rules');
    $('rules-count').textContent = data.total ? String(data.total) : '';
    $('problem').hidden = true;
  } catch (e) {
    const unowned = e.status === 503;
    if (unowned) page.rules = [];
    if (unowned) notes = ['This process evaluates no rules: ask one with the role window'];
    write($('problem'), `Cannot read the rules: ${e.message}. Trying again every ${askEvery / 1000} seconds.`, 600);
    $('problem').hidden = unowned;
  }
  $('rules-notes').replaceChildren(...notes.map((text) => element('li', '', `${text[0].toUpperCase()}${text.slice(1)}.`)));
  list();
}

for (const th of document.querySelectorAll('th')) {
  const button = element('button', '', th.textContent);
  button.addEventListener('click', () => {
    page.by = th.dataset.by;
    list();
  });
  th.replaceChildren(button);
}
async function start() {
  try {
    const status = await ask('api/v1/status');
    page.skew = status.now - Date.now();
    write($('host'), status.host, 60);
  } catch { /* load tells what is wrong */ }
  await load();
  setInterval(() => document.hidden || load(), askEvery);
}
start();
