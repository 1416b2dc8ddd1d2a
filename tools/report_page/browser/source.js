// Where in the source hypercalls and traps were made: a table of places, and the lines around them.

function sourceSection(section, data) {
  data.files.forEach((file, index) => {
    const name = file.file || 'places without a line';
    section.append(make('details', {open: index === 0}, make('summary', {}, `${name}: ${counted(file.count)}`),
      table(`Hypercalls and traps of ${name}`, [
        column('line', ([line]) => line || '', true),
        column('symbol', ([, symbol]) => symbol),
        column('hypercalls', ([, , calls]) => (calls ? counted(calls) : ''), true),
        column('traps', ([, , , traps]) => (traps ? counted(traps) : ''), true),
        column('which', ([, , , , which]) => which.map(([one, count]) => `${one} \u00d7 ${counted(count)}`).join(', '), false, true),
      ], file.places, [(place) => place[0], (place) => place[1], (place) => place[2], (place) => place[3]]),
      file.text.length ? sourceListing(file, name) : make('p', {class: 'faint'}, file.file
        ? 'Its text is not here: report --sources DIR, or --image KERNEL of the sources, shows it.'
        : 'report --image KERNEL names places of which the trace has only addresses.')));
  });
  if (data.left_out) section.append(make('p', {class: 'note'}, 'There was no room for more lines of text.'));
}

function sourceListing(file, name) {
  const counts = new Map();
  for (const [line, , calls, traps] of file.places) counts.set(line, (counts.get(line) || 0) + calls + traps);
  const lines = [];
  let before = 0;
  for (const [number, text] of file.text) {
    if (before && number !== before + 1) lines.push(make('span', {class: 'gap'}, '         ...\n'));
    before = number;
    const count = counts.get(number);
    const line = `${(count ? counted(count) : '').padStart(9)} ${String(number).padStart(6)}  ${text}\n`;
    lines.push(count ? make('span', {class: 'hit'}, line) : line);
  }
  return make('pre', {class: 'listing scroll', tabindex: '0', role: 'region', 'aria-label': `Lines of ${name}`}, lines);
}
