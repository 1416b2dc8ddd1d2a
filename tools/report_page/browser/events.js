// Who notifies whom: domains in a circle, arrows with counts; and the channels as a table.

const MOST_DRAWN = 16;

function eventsSection(section, data, names) {
  const totals = new Map();
  const pairs = new Map();
  for (const {from, to, count} of data.channels) {
    for (const domid of new Set([from, to])) totals.set(domid, (totals.get(domid) || 0) + count);
    pairs.set(`${from} ${to}`, (pairs.get(`${from} ${to}`) || 0) + count);
  }
  const domains = [...totals].sort((one, other) => other[1] - one[1]).slice(0, MOST_DRAWN).map(([domid]) => domid)
    .sort((one, other) => one - other);
  const port = (number) => (number < 0 ? 'any' : number);
  if (domains.length) {
    section.append(eventGraph(domains, pairs, names, section.clientWidth), make('p', {class: 'faint'}, 'd0 without a name is the host. A guest that looks for its events itself has no upcall for them.'
      + (totals.size > domains.length ? ` The ${domains.length} busiest of ${counted(totals.size)} domains are drawn.` : '')));
    section.append(table('Events through channels', [
      column('from', (one) => domain(names, one.from)), column('port', (one) => port(one.port), true),
      column('to', (one) => domain(names, one.to)), column('port', (one) => port(one.to_port), true),
      column('sent', (one) => counted(one.count), true),
      column('while pending', (one) => (one.joined ? counted(one.joined) : ''), true),
      column('by upcall', (one) => (one.arrived ? counted(one.arrived) : ''), true),
      column('mean time', (one) => (one.arrived ? duration(one.total / one.arrived) : ''), true),
      column('longest', (one) => (one.arrived ? duration(one.longest) : ''), true),
    ], data.channels, {4: (one) => one.count, 7: (one) => one.total / Math.max(one.arrived, 1), 8: (one) => one.longest}));
  }
  if (data.virqs.length) {
    section.append(table('Virtual interrupts', [
      column('domain', ([domid]) => domain(names, domid)), column('virq', ([, name]) => name || '(others)'),
      column('raised', ([, , count]) => counted(count), true),
    ], data.virqs));
  }
  if (data.upcalls.length) {
    section.append(table('Upcalls', [
      column('vcpu', ([domid, vcpu]) => (domid < 0 ? 'others' : `d${domid}v${vcpu}`)),
      column('entered', ([, , count]) => counted(count), true),
    ], data.upcalls));
  }
}

function eventGraph(domains, pairs, names, space) {
  const width = Math.min(Math.max(space, 320), 560);
  const [height, radius] = [domains.length > 2 ? width * 0.72 : 190, 26];
  const place = new Map(domains.map((domid, index) => {
    const angle = Math.PI * (2 * index / domains.length + 1);
    return [domid, {x: width / 2 + (width / 2 - 70) * Math.cos(angle), y: height / 2 + (height / 2 - 56) * Math.sin(angle)}];
  }));
  const edges = [];
  const labels = [];
  for (const [pair, count] of pairs) {
    const [from, to] = pair.split(' ').map(Number);
    if (!place.has(from) || !place.has(to)) continue;
    const {path, middle} = from === to ? eventLoop(place.get(from), radius) : eventArrow(place.get(from), place.get(to), radius);
    edges.push(drawn('path', {class: 'edge', d: path, 'marker-end': 'url(#arrow)', 'stroke-width': 1 + Math.log10(count)}));
    labels.push(drawn('text', {class: 'count', x: middle.x, y: middle.y}, counted(count)));
  }
  const nodes = domains.map((domid) => drawn('g', {},
    drawn('circle', {class: 'node', cx: place.get(domid).x, cy: place.get(domid).y, r: radius}),
    drawn('text', {x: place.get(domid).x, y: place.get(domid).y + 5}, domid < 0 ? 'others' : `d${domid}`),
    drawn('text', {x: place.get(domid).x, y: place.get(domid).y + (place.get(domid).y < height / 2 - 1 ? -radius - 6 : radius + 15)}, (names.get(domid) || '').slice(0, 18))));
  const told = [...pairs].map(([pair, count]) => `${pair.replace(' ', ' to ')}: ${count}`).slice(0, 40).join('; ');
  return drawn('svg', {class: 'graph', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `Events between domains. ${told}`},
    drawn('defs', {}, drawn('marker', {id: 'arrow', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 9, markerHeight: 9,
      markerUnits: 'userSpaceOnUse', orient: 'auto'}, drawn('path', {d: 'M0 0 8 4 0 8z'}))), edges, nodes, labels);
}

// From rim to rim, bent to one side: the arrow back is bent to the other.
function eventArrow(from, to, radius) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy);
  const [ux, uy] = [dx / length, dy / length];
  const bend = Math.min(40, length / 5);
  const control = {x: (from.x + to.x) / 2 - uy * bend, y: (from.y + to.y) / 2 + ux * bend};
  const rim = (node, sign) => `${node.x + sign * ux * radius - uy * 8} ${node.y + sign * uy * radius + ux * 8}`;
  return {
    path: `M${rim(from, 1)}Q${control.x} ${control.y} ${rim(to, -1)}`,
    middle: {x: (from.x + to.x) / 2 - uy * bend * 0.75, y: (from.y + to.y) / 2 + ux * bend * 0.75 + 4},
  };
}

function eventLoop({x, y}, radius) {
  return {
    path: `M${x - 12} ${y - radius + 3}C${x - 34} ${y - radius - 34} ${x + 34} ${y - radius - 34} ${x + 12} ${y - radius + 3}`,
    middle: {x, y: y - radius - 16},
  };
}
