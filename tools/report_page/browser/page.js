// Fills the page from its data.

function about(trace) {
  const names = trace.domains.map(([domid, name]) => `d${domid}${name ? ` (${name})` : ''}`);
  const lines = [`${plural(trace.count, 'record')} over ${duration(trace.span)}, from ${clock(trace.first, 0)} s`
    + `${trace.clock ? `; ${trace.clock} clock` : ''}${trace.producer ? `; written by ${trace.producer}` : ''}.`];
  if (names.length) lines.push(`Domains: ${names.join(', ')}.`);
  lines.push(`Kinds: ${trace.kinds.map(([kind, count]) => `${kind} ${counted(count)}`).join(', ')}.`);
  if (trace.gateway_off) lines.push('The native gateway did not serve what was traced: by the host\'s clock that took longer.');
  if (trace.note) lines.push(`The trace is not whole: ${trace.note}.`);
  document.getElementById('about').replaceChildren(...lines.map((line) => make('p', {}, line)));
}

function begin() {
  const island = JSON.parse(document.getElementById('island').textContent);
  const names = new Map(island.trace.domains.filter(([, name]) => name));
  const sections = {
    timeline: timelineSection, calls: callsSection, frames: framesSection, tables: tablesSection, events: eventsSection,
    source: sourceSection,
  };
  about(island.trace);
  const redraws = [];
  for (const [id, fill] of Object.entries(sections)) {
    const section = document.getElementById(id);
    if (island[id]) {
      const redraw = fill(section, island[id], names);
      if (redraw) redraws.push(redraw);
    } else {
      section.append(make('p', {}, 'The trace has no records for this. They are recorded by:'),
        make('p', {}, make('code', {}, `paravane boot KERNEL --trace run.jsonl --trace-events ${island.needed[id]}`)));
    }
  }
  const again = () => redraws.forEach((redraw) => redraw());
  window.addEventListener('resize', again);
  window.addEventListener('beforeprint', again);
  for (const query of ['(prefers-color-scheme: dark)', 'print']) window.matchMedia(query).addEventListener('change', again);
}

begin();
