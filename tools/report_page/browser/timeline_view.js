// The timeline on a canvas: a lane for each vcpu, in it a row for each kind of record.

const ROW = 15;
const LANE_GAP = 9;
const AXIS = 24;
const LISTED = 200;

function timelineSection(section, data) {
  const model = new Timeline(data);
  const canvas = make('canvas', {
    tabindex: '0', role: 'application', 'aria-describedby': 'timeline-keys',
    'aria-label': `Timeline of ${plural(data.lanes.length, 'vcpu')}`,
  });
  const detail = make('p', {class: 'detail', role: 'status'}, 'Select a record: click it, or press N.');
  const range = make('span', {class: 'mono'});
  const list = make('div');
  const details = make('details', {ontoggle: () => fillList()}, make('summary', {}, 'Records in sight, as a table'), list);
  let selected = -1;

  const gutter = () => (canvas.parentElement.clientWidth < 500 ? 46 : 64);
  const laneHeight = ROW * data.rows.length + LANE_GAP;
  const redraw = lazily(() => {
    draw();
    fillList();
  });

  function changed(change) {
    change();
    redraw();
  }

  function select(index) {
    selected = index;
    if (index < 0) return;
    model.reveal(index);
    const who = data.lanes[data.lane[index]];
    const what = data.texts[data.text[index]] || data.names[data.name[index]];
    const took = data.took[index] ? `, ${duration(data.took[index])}` : '';
    detail.textContent = `${clock(data.base, data.at[index])} s${took}  ${who} ${data.rows[data.row[index]]}\n${what}`;
  }

  const keys = {
    ArrowLeft: () => model.pan(-0.1), ArrowRight: () => model.pan(0.1),
    '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2), 0: () => model.whole(), Home: () => model.whole(),
    n: () => select(model.next(selected, 1)), p: () => select(model.next(selected, -1)),
  };

  function zoom(factor) {
    const time = selected < 0 ? NaN : model.at[selected];
    if (time >= model.from && time <= model.to) model.zoom(factor, time);
    else model.zoom(factor);
  }

  function draw() {
    const height = AXIS + data.lanes.length * laneHeight;
    const {context, width} = prepared(canvas, height);
    const left = gutter();
    const scale = (width - left) / (model.to - model.from);
    const x = (time) => left + (time - model.from) * scale;
    context.font = '12px ui-monospace, "DejaVu Sans Mono", monospace';
    context.textBaseline = 'middle';
    drawAxis(context, model, x, width, height);
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height);
    context.clip();
    data.lanes.forEach((_, lane) => data.rows.forEach((kind, row) => {
      const top = AXIS + lane * laneHeight + row * ROW;
      drawRow(context, model, model.rows[lane][row], {kind, top, x, right: width});
    }));
    if (selected >= 0) drawSelected(context, x);
    context.restore();
    drawLanes(context, left, width);
    range.textContent = `${clock(data.base, model.from)} to ${clock(data.base, model.to)} s`;
    canvas.dataset.from = model.from;
    canvas.dataset.to = model.to;
    canvas.dataset.selected = selected;
  }

  function drawLanes(context, left, width) {
    data.lanes.forEach((name, lane) => {
      const top = AXIS + lane * laneHeight;
      context.fillStyle = colour('text');
      context.fillText(name, 4, top + (laneHeight - LANE_GAP) / 2);
      context.fillStyle = colour('line');
      context.fillRect(0, top + laneHeight - LANE_GAP / 2, width, 1);
      context.fillRect(left - 1, top, 1, laneHeight);
    });
  }

  function drawSelected(context, x) {
    const top = AXIS + data.lane[selected] * laneHeight + data.row[selected] * ROW;
    context.strokeStyle = colour('selected');
    context.lineWidth = 2;
    context.strokeRect(x(data.at[selected]) - 1, top, Math.max(data.took[selected] * (x(1) - x(0)), 2) + 2, ROW - 1);
  }

  function fillList() {
    if (!details.open) return;
    const found = model.listed(LISTED);
    list.replaceChildren(table(found.length < LISTED ? plural(found.length, 'record') : `The first ${LISTED} records`, [
      column('time (s)', (index) => clock(data.base, data.at[index]), true),
      column('who', (index) => data.lanes[data.lane[index]]),
      column('kind', (index) => data.rows[data.row[index]]),
      column('what', (index) => data.texts[data.text[index]] || data.names[data.name[index]], false, true),
    ], found));
  }

  timelinePointers(canvas, {
    time: (offset) => model.from + (offset - gutter()) / (canvas.clientWidth - gutter()) * (model.to - model.from),
    pan: (pixels) => changed(() => model.pan(-pixels / (canvas.clientWidth - gutter()))),
    zoom: (factor, centre) => changed(() => model.zoom(factor, centre)),
    click: (time, height) => changed(() => {
      const lane = Math.floor((height - AXIS) / laneHeight);
      const row = Math.min(Math.floor((height - AXIS - lane * laneHeight) / ROW), data.rows.length - 1);
      if (lane < 0 || lane >= data.lanes.length) return;
      select(model.nearest(model.rows[lane][row], time, 8 * (model.to - model.from) / canvas.clientWidth));
    }),
  });
  canvas.addEventListener('keydown', (event) => {
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    changed(action);
  });

  const button = (title, name, key) => make('button',
    {type: 'button', 'aria-label': name, title: name, onclick: () => changed(keys[key])}, title);
  section.append(
    make('div', {class: 'bar'}, button('\u2190', 'earlier', 'ArrowLeft'), button('\u2192', 'later', 'ArrowRight'),
      button('+', 'nearer', '+'), button('\u2212', 'further', '-'), button('all', 'all of it', '0'),
      button('previous', 'previous record', 'p'), button('next', 'next record', 'n'), range),
    make('div', {class: 'frame'}, canvas),
    legend([...data.rows.map((kind) => [kind, `var(--${kind})`]), ['refused', 'var(--refused)']]), detail,
    make('p', {id: 'timeline-keys', class: 'faint controls'}, 'Keys, once the timeline has the focus: left and right '
      + 'pan, + and - zoom, 0 shows all, N and P go to the next and previous record. Dragging pans; Ctrl with the '
      + 'wheel, or two fingers, zooms.'),
    ...timelineNotes(data), details, timelineMarks(data),
  );
  draw();
  return redraw;
}

function drawAxis(context, model, x, width, height) {
  const wanted = (model.to - model.from) / Math.max(1, Math.floor(width / 130));
  const power = 10 ** Math.floor(Math.log10(Math.max(wanted, 1)));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= wanted) || 1;
  const base = Number(BigInt(model.data.base) % BigInt(Math.round(step)));
  for (let time = Math.ceil((model.from + base) / step) * step - base; time <= model.to; time += step) {
    context.fillStyle = colour('line');
    context.fillRect(x(time), AXIS - 6, 1, height);
    context.fillStyle = colour('faint');
    context.fillText(clock(model.data.base, time, step), x(time) + 3, AXIS / 2);
  }
}

// Records that share a pixel are drawn as one; what was refused is drawn last, so that it is seen.
function drawRow(context, model, row, {kind, top, x, right}) {
  const bins = model.data.bins;
  context.fillStyle = colour(kind);
  for (const [at, count] of row.bins) {
    if (at > model.to || at + bins.width < model.from) continue;
    const size = Math.max(2, (ROW - 3) * Math.log1p(count) / Math.log1p(model.most));
    context.fillRect(x(at), top + ROW - 2 - size, Math.max(x(at + bins.width) - x(at) - 0.5, 1), size);
  }
  const refused = [];
  const labels = [];
  let done = -Infinity;
  model.visible(row, (index) => {
    const begin = Math.max(x(model.at[index]), 0);
    const end = Math.min(Math.max(x(model.at[index] + model.took[index]), begin + 1.5), right);
    if (model.data.refused[index] && !(refused.length && refused.at(-1)[1] >= end)) refused.push([begin, end]);
    if (end - begin > 40) labels.push([begin, end, model.data.names[model.data.name[index]]]);
    if (end <= done + 0.5) return;
    context.fillRect(Math.max(begin, done), top, end - Math.max(begin, done), ROW - 3);
    done = end;
  });
  context.fillStyle = colour('refused');
  for (const [begin, end] of refused) context.fillRect(begin, top, end - begin, ROW - 3);
  context.fillStyle = colour('ground');
  for (const [begin, end, name] of labels) context.fillText(name.slice(0, (end - begin - 6) / 7.3), begin + 3, top + ROW / 2 - 1);
}

// Dragging, pinching, Ctrl and the wheel, and clicks, in times and pixels.
function timelinePointers(canvas, {time, pan, zoom, click}) {
  const down = new Map();
  let moved = 0;
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, event.offsetX);
    moved = 0;
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!down.has(event.pointerId)) return;
    const before = down.get(event.pointerId);
    const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    down.set(event.pointerId, event.offsetX);
    moved += Math.abs(event.offsetX - before);
    if (other === undefined) pan(event.offsetX - before);
    else if (Math.abs(event.offsetX - other) > 10 && Math.abs(before - other) > 10) {
      zoom(Math.abs(before - other) / Math.abs(event.offsetX - other), time(other));
    }
  });
  canvas.addEventListener('pointerup', (event) => {
    if (down.delete(event.pointerId) && moved < 4) click(time(event.offsetX), event.offsetY);
  });
  canvas.addEventListener('pointercancel', (event) => down.delete(event.pointerId));
  canvas.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(1.0015 ** event.deltaY, time(event.offsetX));
  }, {passive: false});
}

function timelineNotes(data) {
  const notes = [];
  if (data.left_out) {
    notes.push(make('p', {class: 'note'}, `The first ${plural(data.at.length, 'record')} are here one by one. `
      + `${counted(data.left_out)} more are counted in bins of ${duration(data.bins.width)}, from `
      + `${clock(data.base, data.bins.from)} s on, whose heights are logarithms of their counts. `
      + 'report --from and --until show a part.'));
  }
  if (data.untold) {
    notes.push(make('p', {class: 'note'}, `${plural(data.untold, 'record')} found no room for more than a name.`));
  }
  return notes;
}

function timelineMarks(data) {
  if (!data.marks.length) return '';
  return table('Lives of domains', [
    column('time (s)', ([at]) => clock(data.base, at), true),
    column('what', ([, text]) => text, false, true),
  ], data.marks);
}
