// Page tables as a tree, with what was refused about each.

function tablesSection(section, data, names) {
  const tables = new Map(data.tables.map((one) => [one.mfn, one]));
  const below = new Set(data.tables.filter((one) => one.live).flatMap((one) => one.below));
  const level = (one, other) => other.level - one.level || one.mfn - other.mfn;
  const roots = data.tables.filter((one) => one.live && !below.has(one.mfn)).sort(level);
  const gone = data.tables.filter((one) => !one.live && (one.refused || one.sentences.length)).sort(level);
  const shown = new Set();

  function title(one) {
    const parts = [`L${one.level} mfn ${hex(one.mfn)} of ${domain(names, one.owner)}`];
    if (one.pinned) parts.push('pinned');
    if (one.validated > 1) parts.push(`validated ${counted(one.validated)} times`);
    if (one.live && one.below.length) parts.push(`${plural(one.below.length, 'table')} below`);
    const refusals = one.refused + one.sentences.reduce((sum, [, count]) => sum + count, 0);
    return [parts.join(', '), refusals ? make('span', {class: 'refused'}, ` \u2014 ${plural(refusals, 'refusal')}`) : ''];
  }

  function item(mfn) {
    const one = tables.get(mfn);
    const inside = [];
    if (shown.has(mfn)) return make('li', {class: 'faint'}, `L${one.level} mfn ${hex(mfn)}, as above`);
    shown.add(mfn);
    if (one.refused) inside.push(make('li', {class: 'refused'}, `refused as a table ${plural(one.refused, 'time')}`));
    inside.push(...one.sentences.map(([sentence, count]) => make('li', {class: 'refused'},
      count > 1 ? `${sentence} (${plural(count, 'time')})` : sentence)));
    inside.push(...(one.live ? one.below.map(item) : []));
    if (!inside.length) return make('li', {}, title(one));
    return make('li', {}, make('details', {open: one.level > 2}, make('summary', {}, title(one)), make('ul', {}, inside)));
  }

  section.append(
    make('p', {}, `${plural(data.live, 'table')} of ${plural(data.tables.length, 'frame')} that were ever used as one are in `
      + 'use at the end. What is below what is told by the order in which tables were validated and by the entries that '
      + 'mmu_update writes; entries that a guest stores itself are not in a trace.'
      + (data.left_out ? ` ${plural(data.left_out, 'record')} of other tables found no room.` : '')),
    make('ul', {class: 'tree'}, roots.map((one) => item(one.mfn))),
  );
  if (gone.length) {
    section.append(make('h3', {}, 'No tables any more, with refusals'),
      make('ul', {class: 'tree'}, gone.map((one) => item(one.mfn))));
  }
  if (data.others.length) {
    section.append(make('h3', {}, 'Refused, and about none of these'), table('Requests about page tables', [
      column('count', ([, count]) => counted(count), true), column('what', ([sentence]) => sentence, false, true),
    ], data.others));
  }
}
