// The table of hypercalls, and why requests were refused.

function callsSection(section, data) {
  const result = ([name, count]) => `${name} \u00d7 ${counted(count)}`;
  section.append(
    table('Hypercalls by name; times are the guest\'s, until it goes on', [
      column('hypercall', (call) => call.name),
      column('count', (call) => counted(call.count), true),
      column('refused', (call) => (call.refused ? make('span', {class: 'refused'}, counted(call.refused)) : ''), true),
      column('preempted', (call) => (call.preempted ? counted(call.preempted) : ''), true),
      column('total', (call) => duration(call.total), true),
      column('mean', (call) => duration(call.total / call.count), true),
      column('longest', (call) => duration(call.longest), true),
      column('results', (call) => call.results.map(result).join(', '), false, true),
    ], data.calls, [
      (call) => call.name, (call) => call.count, (call) => call.refused, (call) => call.preempted,
      (call) => call.total, (call) => call.total / call.count, (call) => call.longest,
    ]),
    make('h3', {}, 'Refused'),
    data.reasons.length ? table('Requests that were refused, by reason: sentences that differ in numbers are one', [
      column('count', (reason) => counted(reason.count), true),
      column('asked', (reason) => reason.asked),
      column('errno', (reason) => (reason.errno ? `-${reason.errno}` : '')),
      column('the first one', (reason) => reason.sentence, false, true),
      column('where', (reason) => reason.where),
    ], data.reasons, [(reason) => reason.count, (reason) => reason.asked, (reason) => reason.errno])
      : make('p', {}, 'Nothing was refused, as far as the trace tells.'),
  );
}
