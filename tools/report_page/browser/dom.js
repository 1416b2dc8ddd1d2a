// Elements. What a trace says becomes text nodes and values, never markup.

function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat());
  return element;
}

// A column: its title; `of`, what a row has there (text, number or node); whether it is a number.
function column(title, of, number = false, wide = false) {
  return {title, of, number, wide};
}

// A table in a region of its own that scrolls, if it must; sorted by the titles' buttons where `by` has what to
// compare for a column.
function table(caption, columns, rows, by = {}) {
  const body = make('tbody');
  const heads = columns.map((one, at) => make('th', {scope: 'col', class: one.number ? 'number' : ''},
    by[at] ? make('button', {type: 'button', onclick: () => sort(at)}, one.title) : one.title));
  let ascending = true;
  let sorted = -1;

  function fill(all) {
    body.replaceChildren(...all.map((row) => make('tr', {}, columns.map((one) => make('td',
      {class: one.number ? 'number' : one.wide ? 'wide' : ''}, one.of(row))))));
  }

  function sort(at) {
    ascending = at === sorted ? !ascending : !columns[at].number;
    sorted = at;
    const sign = ascending ? 1 : -1;
    const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
    fill([...rows].sort((one, other) => sign * compare(by[at](one), by[at](other))));
    heads.forEach((head, index) => {
      if (index === at) head.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
      else head.removeAttribute('aria-sort');
    });
  }

  fill(rows);
  return make('div', {}, make('p', {class: 'caption'}, caption),
    make('div', {class: 'scroll', role: 'region', tabindex: '0', 'aria-label': caption},
      make('table', {}, make('thead', {}, make('tr', {}, heads)), body)));
}

function legend(entries) {
  return make('ul', {class: 'legend'}, entries.map(([name, colour]) => make('li', {},
    drawn('svg', {viewBox: '0 0 10 10', 'aria-hidden': 'true'},
      drawn('rect', {width: 10, height: 10, fill: colour})), name)));
}

// The colour that the style sheet has under a name, as it is now.
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// A canvas whose unit is a CSS pixel, of the width of what it is in; gives its context, empty.
function prepared(canvas, height) {
  const width = canvas.parentElement.clientWidth;
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.fillStyle = colour('ground');
  context.fillRect(0, 0, width, height);
  return {context, width};
}

// Calls `draw` once before the next picture, however often it is asked for.
function lazily(draw) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      draw();
    });
  };
}
