// @ts-check
/** All words of the dashboard in English. Another language is another file like this one. */
export default {
  // --- everywhere
  again: 'Try again',
  account: 'Account',
  attention: '{n} waiting for you',
  cancel: 'Cancel',
  close: 'Close',
  copied: 'Copied',
  'copy.id': '{id} · click to copy',
  delete: 'Delete',
  edit: 'Edit',
  loading: 'Loading',
  menu: 'Pages',
  save: 'Save',
  select: 'Select',
  'select.all': 'Select all that are loaded',
  skip: 'Skip to the content',
  theme: 'Light or dark',
  keys: 'Keys',
  'key.down': 'Next row',
  'key.up': 'Row before',
  'key.open': 'Open the row',
  'key.select': 'Select the row',
  palette: 'Go to or search',
  'palette.hint': 'A page, an action, or words to search for',
  'palette.open': 'Go to or search',
  'palette.search': 'Search for “{text}”',
  'live.connecting': 'Connecting',
  'live.live': 'Live',
  'live.lost': 'Not connected, lost {ago}',
  'live.paused': 'Paused',
  'scope.read': 'May look',
  'scope.write': 'May give work',
  'scope.admin': 'May do everything',
  'sign.out': 'Sign out',
  'status.held': 'Held',
  'status.queued': 'Queued',
  'status.running': 'Running',
  'status.succeeded': 'Succeeded',
  'status.failed': 'Failed',
  'status.cancelled': 'Cancelled',
  'status.waiting': 'Needs you',
  'status.pending': 'Waiting',
  'status.sending': 'Sending',
  'status.delivered': 'Delivered',
  'status.dead': 'Dead letter',
  'status.idle': 'Idle',
  'status.working': 'Working',
  'status.disabled': 'Disabled',

  'permission.asked': 'Asked',
  'permission.expires': 'denied in {time} without an answer',
  'permission.read.only': 'Your token may look, but not answer.',
  'permission.allow': 'Allow',
  'permission.allow_always': 'Allow always',
  'permission.deny': 'Deny',
  'permission.answer': 'Answer',
  'permission.refuse': 'Do not answer',
  'permission.other': 'Something else',
  'permission.by': 'by {name}.',
  'permission.given.allow': 'Allowed',
  'permission.given.allow_always': 'Always allowed',
  'permission.given.deny': 'Denied',
  'permission.given.answer': 'Answered',
  'permission.reason.deadline': 'because nobody answered in time.',
  'permission.reason.withdrawn': 'because the agent waits no more.',

  // --- sign-in
  'sign.title': 'Sign in',
  'sign.how': 'On the machine of the gateway, run',
  'sign.phone': 'For a phone in the same network:',
  'sign.token': 'Or paste a token',
  'sign.in': 'Sign in',

  // --- now
  'now.title': 'Now',

  // --- runs
  'runs.title': 'Runs',
  'runs.all': 'All',
  'runs.any': 'Any',
  'runs.empty': 'No run yet. Whatever you ask an agent shows up here.',
  'runs.none': 'No run fits this filter.',
  'runs.clear': 'Show all runs',
  'runs.filter': 'Filter',
  'runs.filter.agent': 'Agent',
  'runs.filter.source': 'From',
  'runs.filter.age': 'Since',
  'runs.filter.label': 'Label',
  'runs.filter.session': 'Session',
  'runs.filter.remove': 'Remove this filter',
  'runs.age.hour': 'the last hour',
  'runs.age.day': 'the last day',
  'runs.age.week': 'the last week',
  'runs.age.month': 'the last 30 days',
  'runs.search': 'Words in prompts and answers',
  'runs.column.status': 'Status',
  'runs.column.input': 'Prompt',
  'runs.column.agent': 'Agent',
  'runs.column.source': 'From',
  'runs.column.created': 'When',
  'runs.column.took': 'Took',
  'runs.waits': 'waits',
  'runs.chosen': '{n} selected',
  'runs.none.chosen': 'Select none',
  'runs.progress': '{n} done',
  'runs.refused': '{n} had ended already or could not be changed.',
  'runs.cancel': 'Cancel',
  'runs.cancel.sure': '{n} runs end now, wherever they are.',
  'runs.cancel.all': 'Cancel all that match',
  'runs.cancel.all.sure': 'All runs that fit the filter end now, also those that are not on the page.',
  'runs.cancel.done': '{n} cancelled.',
  'runs.retry': 'Run again',
  'runs.retry.sure': '{n} runs begin again, as new runs.',
  'runs.retry.all': 'Run all that match again',
  'runs.retry.all.sure': 'All runs that fit the filter begin again, as new runs, also those that are not on the page.',
  'runs.retry.done': '{n} begin again.',

  // --- run
  'run.title': 'Run',

  // --- board
  'board.title': 'Board',

  // --- chat
  'chat.title': 'Chat',
  'chat.new': 'New chat',

  // --- schedules
  'schedules.title': 'Schedules',

  // --- deliveries
  'deliveries.title': 'Deliveries',

  // --- agents
  'agents.title': 'Agents',

  // --- sessions
  'sessions.title': 'Sessions',

  // --- search
  'search.title': 'Search',

  // --- usage
  'usage.title': 'Usage',

  // --- system
  'system.title': 'System',
};
