// The map of machine memory: a cell for each frame that the trace speaks of, as it was at some moment.

const MAP_HEIGHT = 420;
const UNSEEN = -1;

class FrameMap {
  constructor(data) {
    this.data = data;
    this.mfns = [...new Set(data.mfn)].sort((one, other) => one - other);
    const cells = new Map(this.mfns.map((mfn, cell) => [mfn, cell]));
    this.cell = data.mfn.map((mfn) => cells.get(mfn));
    // The moments at which something changes: how many changes are done after each.
    this.moments = [];
    data.at.forEach((at, index) => {
      if (at !== data.at[index + 1]) this.moments.push(index + 1);
    });
    this.owners = [...new Set(data.owner)].sort((one, other) => one - other);
    this.last = new Int32Array(this.mfns.length).fill(UNSEEN);
    this.done = 0;
    this.go(this.moments.length - 1);
  }

  // Go to a moment, by its number.
  go(moment) {
    const wanted = this.moments[moment];
    if (wanted < this.done) {
      this.last.fill(UNSEEN);
      this.done = 0;
    }
    for (; this.done < wanted; this.done += 1) this.last[this.cell[this.done]] = this.done;
    this.moment = moment;
  }

  get time() {
    return this.data.at[this.done - 1];
  }

  // What is known of a cell now, in words.
  told(cell, names) {
    const change = this.last[cell];
    const head = `mfn ${hex(this.mfns[cell])}`;
    if (change === UNSEEN) return `${head}: nothing is known of it at this time`;
    const {types, type, owner, uses, pinned} = this.data;
    return `${head} of ${domain(names, owner[change])}: ${types[type[change]] || 'no type'}, `
      + `${plural(uses[change], 'use')}${pinned[change] ? ', pinned' : ''}`;
  }

  // Frames of each owner and type now: [owner, type, count].
  counts() {
    const found = new Map();
    const many = this.data.types.length;
    for (const change of this.last) {
      if (change === UNSEEN) continue;
      const key = this.data.owner[change] * many + this.data.type[change];
      found.set(key, (found.get(key) || 0) + 1);
    }
    return [...found].map(([key, count]) => [Math.floor(key / many), key % many, count])
      .sort((one, other) => one[0] - other[0] || other[2] - one[2]);
  }
}

function framesSection(section, data, names) {
  const map = new FrameMap(data);
  const canvas = make('canvas', {tabindex: '0', role: 'application', 'aria-label': 'Map of machine frames'});
  const told = make('p', {class: 'detail', role: 'status'});
  const when = make('output', {class: 'mono'});
  const counts = make('div');
  const key = make('div');
  const by = make('select', {'aria-label': 'Colours'}, make('option', {value: 'type'}, 'colours: type'),
    make('option', {value: 'owner'}, 'colours: owner'));
  const slider = make('input', {type: 'range', min: 0, max: map.moments.length - 1, step: 1, 'aria-label': 'Moment'});
  slider.value = map.moment;
  let size = 8;
  let columns = 1;
  let cursor = -1;

  const typeColour = (type) => `var(--${/^\w+$/.test(data.types[type]) ? data.types[type] : 'none'}, var(--none))`;
  const ownerColour = (owner) => `hsl(${Math.round(owner * 137.5) % 360} 60% ${colour('owner-light')})`;

  function draw() {
    const width = canvas.parentElement.clientWidth;
    size = [12, 10, 8, 6, 5, 4, 3, 2, 1].find((one) => Math.ceil(map.mfns.length / Math.floor(width / one)) * one <= MAP_HEIGHT) || 1;
    columns = Math.max(1, Math.floor(width / size));
    const {context} = prepared(canvas, Math.ceil(map.mfns.length / columns) * size + 1);
    const types = data.types.map((name) => (/^\w+$/.test(name) && colour(name)) || colour('none'));
    const owners = new Map(map.owners.map((owner) => [owner, ownerColour(owner)]));
    const unseen = colour('raised');
    const gap = size > 3 ? 1 : 0;
    // By colours: a context takes longer to be given one than to fill a cell.
    const cells = new Map();
    map.last.forEach((change, cell) => {
      const fill = change === UNSEEN ? unseen : by.value === 'type' ? types[data.type[change]] : owners.get(data.owner[change]);
      if (cells.has(fill)) cells.get(fill).push(cell);
      else cells.set(fill, [cell]);
    });
    for (const [fill, some] of cells) {
      context.fillStyle = fill;
      for (const cell of some) context.fillRect((cell % columns) * size, Math.floor(cell / columns) * size, size - gap, size - gap);
    }
    if (cursor >= 0) {
      context.strokeStyle = colour('selected');
      context.lineWidth = 2;
      context.strokeRect((cursor % columns) * size, Math.floor(cursor / columns) * size, Math.max(size - 1, 3), Math.max(size - 1, 3));
    }
    when.textContent = `${clock(data.base, map.time)} s`;
    told.textContent = cursor < 0 ? 'Select a frame: click it, or use the arrow keys.' : map.told(cursor, names);
    canvas.dataset.cursor = cursor;
    canvas.dataset.time = map.time;
    key.replaceChildren(legend(by.value === 'type'
      ? [...new Set(data.type)].map((type) => [data.types[type] || 'unknown', typeColour(type)])
      : map.owners.slice(0, 40).map((owner) => [domain(names, owner), ownerColour(owner)])));
    counts.replaceChildren(table(`Frames at ${clock(data.base, map.time)} s`, [
      column('owner', ([owner]) => domain(names, owner)),
      column('type', ([, type]) => data.types[type] || 'unknown'),
      column('frames', ([, , count]) => counted(count), true),
    ], map.counts().slice(0, 200)));
  }

  const redraw = lazily(draw);
  const move = (cell) => {
    cursor = Math.min(Math.max(cell, 0), map.mfns.length - 1);
    redraw();
  };
  slider.addEventListener('input', () => {
    map.go(Number(slider.value));
    redraw();
  });
  by.addEventListener('change', redraw);
  canvas.addEventListener('click', (event) => {
    const across = Math.floor(event.offsetX / size);
    if (across < columns) move(Math.floor(event.offsetY / size) * columns + across);
  });
  canvas.addEventListener('keydown', (event) => {
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key];
    if (by === undefined) return;
    event.preventDefault();
    move(cursor < 0 ? 0 : cursor + by);
  });
  section.append(
    make('p', {}, `${plural(data.count, 'change')} of ${plural(map.mfns.length, 'frame')} that the trace speaks of, in `
      + 'the order of their numbers; a frame is as its last record left it.'
      + (data.step ? ` Changes of a frame within ${duration(data.step)} are one here.` : '')
      + (data.left_out ? ` ${plural(data.left_out, 'change')} of other frames found no room.` : '')),
    make('div', {class: 'bar'}, by, slider, when), make('div', {class: 'frame'}, canvas), key, told, counts,
  );
  draw();
  return redraw;
}
