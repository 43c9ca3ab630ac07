// All that the page says. Another language is another such module.

const number = new Intl.NumberFormat('en');
const few = (n, one, many) => `${number.format(n)} ${n === 1 ? one : many}`;

export const files = (n) => few(n, 'file', 'files');

// bytes says a size in units of a thousand, as the rest of the service does.
export function bytes(n) {
  if (!(n >= 1000)) return `${Math.round(n || 0)} bytes`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let i = -1;
  do { n /= 1000; i++; } while (n >= 999.5 && i < units.length - 1);
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

// clock says a length in seconds as players do.
export function clock(s) {
  s = Math.max(0, Math.floor(s || 0));
  const two = (n) => String(n).padStart(2, '0');
  const h = Math.floor(s / 3600);
  const m = Math.floor(s / 60) % 60;
  return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

// left says how long something still takes, in seconds.
export function left(s) {
  if (!Number.isFinite(s) || s < 0) return '';
  if (s < 5) return 'a few seconds left';
  if (s < 55) return `${Math.ceil(s / 5) * 5} s left`;
  if (s < 3570) return `${Math.round(s / 60) || 1} min left`;
  return `${Math.floor(s / 3600)} h ${Math.round(s / 60) % 60} min left`;
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });
const day = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short' });
const dayOfYear = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', year: 'numeric' });
const moment = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });

export const date = (d) => dayOfYear.format(d);
export const when = (date) => moment.format(date);

export function ago(date, now = new Date()) {
  const s = (now - date) / 1000;
  if (s < 60) return 'just now';
  if (s < 3600) return relative.format(-Math.floor(s / 60), 'minute');
  if (s < 86400) return relative.format(-Math.floor(s / 3600), 'hour');
  if (s < 7 * 86400) return relative.format(-Math.floor(s / 86400), 'day');
  return (date.getFullYear() === now.getFullYear() ? day : dayOfYear).format(date);
}

// sentence makes one of what the service says.
export const sentence = (s) => (s ? s[0].toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? '' : '.') : '');

export const text = {
  // the frame
  skip: 'Skip to the content',
  settings: 'Settings',
  account: 'Account',
  users: 'Users',
  signOut: 'Sign out',
  close: 'Close',
  copy: 'Copy',
  copied: 'Copied.',
  save: 'Save',
  reset: 'Reset',
  offline: 'You are offline. Uploads wait, and go on by themselves when the connection is back.',
  online: 'You are online again.',
  unreachable: 'The service cannot be reached. Is the network there? Try again.',
  refused: (status) => `The service answers ${status}. Try again later.`,
  failed: 'This page met an error of its own. Load it again.',

  // signing in
  pitch: 'The sound of any video, as an MP3.',
  pitchLead: 'Recordings, lectures, concerts: send a video of any size and listen to it anywhere.',
  pitch1: 'Only the sound leaves your machine, where the video allows it. What breaks off goes on.',
  pitch2: 'Speech, music or best quality, cut to the part that you want.',
  pitch3: 'Listen here, download, share a link, or subscribe by podcast.',
  signIn: 'Sign in',
  signOn: 'Sign in by single sign-on',
  signUp: 'Make an account',
  signingIn: 'Signing in…',
  email: 'E-mail',
  password: 'Password',
  signUpInstead: 'No account yet? Make one',
  signInInstead: 'Have an account? Sign in',
  forgot: 'Forgot the password?',
  resetPassword: 'Choose another password',
  sendLink: 'Send me a link',
  linkSent: (email) => `A mail with a link is on its way to ${email}, if that address can have one. Follow it within ` +
    'an hour.',
  choosePassword: 'Choose your password',
  newPassword: 'New password',
  savePassword: 'Save',
  passwordSaved: 'The password is saved. Sign in with it.',
  wrongPassword: 'The e-mail or the password is not right.',
  tooOften: (s) => `Too many tries. Try again in ${s > 90 ? `${Math.ceil(s / 60)} minutes` : `${s || 60} seconds`}.`,
  noCookie: 'The browser did not keep the session. Allow cookies for this page and try again.',
  expired: 'Your session has ended. Sign in again: nothing is lost, and uploads go on where they were.',
  signedOut: 'You are signed out.',

  // sending
  sendTitle: 'New MP3',
  dropHere: 'Drop videos or a folder here, or paste',
  pickHere: 'Choose videos on this device',
  dropNote: 'Any size. Any common kind of video or sound.',
  chooseFiles: 'Choose files',
  chooseFolder: 'Folder',
  optionsTitle: 'Sound',
  preset: 'Preset',
  speech: 'Speech',
  speechNote: 'mono, small, even',
  music: 'Music',
  musicNote: 'stereo, good',
  best: 'Best',
  bestNote: '320 kbit/s',
  moreOptions: 'More options',
  quality: 'Quality',
  vbr: (q) => `Variable, V${q}${q === 0 ? ' (best)' : q === 2 ? ' (very good)' : q === 5 ? ' (speech)' :
    q === 9 ? ' (smallest)' : ''}`,
  cbr: (k) => `Constant, ${k} kbit/s`,
  kbit: (k) => `${k} kbit/s`,
  v: (q) => `variable V${q}`,
  mono: 'Mix to mono',
  monoShort: 'mono',
  evenShort: 'even loudness',
  normalize: 'Even loudness',
  start: 'From',
  end: 'To',
  endPlaceholder: 'the end',
  timeHint: 'Seconds (90.5) or a clock time (1:02:03)',
  track: 'Track',
  trackPlaceholder: 'as usual',
  trackHint: 'Of several tracks of sound: its number, from 1, or its language (de)',
  badTrack: (s) => `“${s}” is no track. Write its number, or its language (de).`,
  trackShort: (s) => `track ${s}`,
  partial: 'Take what is there of a video that is cut off',
  expires: 'Keep it for',
  keptFor: (s) => `kept ${s}`,
  usually: 'As usual',
  periods: { '1h': '1 hour', '1d': '1 day', '7d': '7 days', '30d': '30 days' },
  title: 'Title',
  artist: 'Artist',
  album: 'Album',
  optionsNote: 'For the files that you add next, the title only when it is one. Each file can have its own, too.',
  oneTitle: 'Options of this file',
  oneAgain: (s) => `${s} of it are sent. With other options it is sent again from the start.`,
  oneOptions: 'Options',
  badTime: (s) => `“${s}” is no time. Write seconds (90.5) or a clock time (1:02:03).`,
  badRange: 'The end has to come after the start.',
  from: (s) => `from ${s}`,
  to: (s) => `to ${s}`,

  uploadsTitle: 'Sending',
  clear: 'Clear sent',
  pause: 'Pause',
  resume: 'Resume',
  cancel: 'Cancel',
  again: 'Try again',
  of: (verb, name) => `${verb}: ${name}`,
  waiting: 'Waits for its turn',
  reading: 'Looking for the sound…',
  onlySound: (sound, all) => `only the sound: ${sound} of ${all}`,
  sentOf: (sent, all) => `${sent} of ${all}`,
  speed: 'Speed',
  rate: (s) => `${s}/s`,
  paused: 'Paused',
  sent: 'Sent',
  storing: 'Being stored…',
  chooseAgain: 'Choose this file again to go on',
  lineCut: (s) => s > 1 ? `The line is cut. Tries again in ${s} s` : 'The line is cut. Tries again…',
  busy: (detail) => detail,
  waitsForSession: 'Waits until you sign in again',
  uploadsSum: (n, l) => [`${files(n)} to go`, l].filter(Boolean).join(', '),
  notVideo: (name) => `“${name}” is not a video or a sound, so it was not sent.`,
  notVideos: (n) => `${files(n)} are not videos or sounds, so they were not sent.`,
  emptyFile: (name) => `“${name}” is empty, so it was not sent.`,
  tooBig: (name, max) => `“${name}” is larger than the ${max} that this service takes.`,
  nothingIn: 'There is no video in it.',
  already: (name) => `“${name}” is being sent already.`,
  added: (n) => `${files(n)} added.`,
  notSent: (name) => `${name} could not be sent.`,
  unreadable: 'The file cannot be read. Was it moved or changed? Choose it again.',
  lost: 'The service does not have this upload any more. Try again to send it from the start.',
  leave: 'Uploads are under way',
  leaveText: 'Who signs out stops them. They go on where they were when you sign in and choose the files again.',
  andMore: (n) => `And ${files(n)} more.`,

  quota: {
    bytes: (used, all) => `${used} of ${all} are used`,
    minutes: (used, all) => `${number.format(used)} of ${few(all, 'minute', 'minutes')} of sound were made today`,
    jobs: (used, all) => `${number.format(used)} of ${few(all, 'conversion', 'conversions')} are under way`,
    uploads: (used, all) => `${number.format(used)} of ${few(all, 'upload', 'uploads')} are under way`,
    noRoom: (length, room) => `It takes ${length}, and you have room for ${room}. Delete MP3s that you do not need.`,
    noMinutes: (all) => `${few(all, 'minute', 'minutes')} of sound were made for you today, the most that you may. ` +
      'Come again tomorrow.',
  },

  // jobs
  jobsTitle: 'Your MP3s',
  jobsTitleAll: 'Everyone’s MP3s',
  whose: 'Whose',
  mine: 'Mine',
  everyones: 'Everyone’s',
  podcast: 'Podcast',
  search: 'Search',
  searchKey: 'The key / comes here',
  filter: 'State',
  sort: 'Order',
  states: { '': 'All states', running: 'In work', ready: 'Ready', failed: 'Failed', cancelled: 'Cancelled',
    expired: 'Expired' },
  sorts: { new: 'Newest first', old: 'Oldest first', name: 'By name', long: 'Longest first', big: 'Largest first' },
  count: (shown, all, open) => shown === all ? `${number.format(all)}${open ? '+' : ''}` :
    `${number.format(shown)} of ${number.format(all)}${open ? '+' : ''}`,
  loadingMore: 'Loading more…',
  choose: (name) => `Choose ${name}`,
  chooseAll: 'Choose all',
  chosen: (n) => `${number.format(n)} chosen`,
  zip: 'ZIP',
  zipAll: 'All as ZIP',
  zipChosen: (n) => `ZIP of ${number.format(n)}`,
  zipMany: 'A ZIP holds 1,000 MP3s at most: it has the first 1,000 of them.',
  deleteChosen: 'Delete',
  none: 'No MP3s yet',
  noneText: 'Send your first video. Its MP3 will be here, ready to play.',
  noMatch: 'Nothing matches',
  noMatchText: 'Try other words, or all states.',
  showAll: 'Show all',
  loadFailed: 'Your MP3s cannot be loaded',
  state: { stored: 'Waiting', queued: 'Waiting', converting: 'Converting', converted: 'Ready', notified: 'Ready',
    failed: 'Failed', cancelled: 'Cancelled', expired: 'Expired',
    handed_over: 'Left to the old system' },
  inLine: (n) => n ? `Waiting, ${few(n, 'other', 'others')} of yours before it` : 'Waiting for a converter',
  percent: (n) => `${n}%`,
  progressOf: (name) => `Progress of ${name}`,
  play: 'Play',
  download: 'Download',
  share: 'Link',
  retry: 'Try again',
  delete: 'Delete',
  cancelJob: 'Cancel',
  ready: (name) => `${name} is ready.`,
  failedJob: (name) => `${name} could not be converted.`,
  expiredNote: 'The MP3 is not kept any more. Send the video again to have it back.',
  keptUntil: (s) => `kept until ${s}`,
  cancelledNote: 'Cancelled before it was done.',
  sendAgain: 'The video is not kept any more: send it again.',
  doThis: {
    no_audio: 'Send one that has sound.',
    not_media: 'Send a video or a sound, such as MP4, MKV or MOV.',
    truncated: 'Its end is missing: copy it from where it came once more, or send it so that what is there is taken.',
    too_long: 'Give a start and an end, and send it in parts.',
    unsupported: 'Save it as MP4 or MKV, and send that.',
    protected: 'It is locked by copy protection. Send an open copy.',
    '': 'Try again. If it fails once more, ask whoever runs this service.',
  },
  deleteOne: (name) => `Delete “${name}”?`,
  deleteMany: (n) => `Delete ${few(n, 'MP3', 'MP3s')}?`,
  deleteText: 'Video and MP3 go for good, and links to it end.',
  deleteRunning: 'What is still being converted stops.',
  keep: 'Keep',
  deleted: (n) => n === 1 ? 'Deleted.' : `${few(n, 'job', 'jobs')} deleted.`,
  notDeleted: (n, why) => `${few(n, 'job', 'jobs')} could not be deleted: ${why}`,
  admin: (r, w, b) => [`${few(r, 'converter', 'converters')} at work`, `${number.format(w)} waiting`,
    `${b} of MP3s stored`],

  // the player
  player: 'Player',
  pausePlay: 'Pause',
  back15: 'Back 15 seconds',
  forward30: 'Forward 30 seconds',
  position: 'Position',
  positionAt: (at, all) => `${at} of ${all}`,
  closePlayer: 'Close the player',
  chapters: 'Chapters',
  noPlay: 'The MP3 cannot be played: it may be deleted, or the line is cut.',

  // the account
  accounts: {
    since: (s) => `since ${s}`,
    use: 'What is used',
    stored: (s) => `${s} are stored`,
    changePassword: 'Change the password',
    current: 'Password now',
    passwordNote: '8 characters at least. All other sessions end; keys stay.',
    passwordChanged: 'The password is changed. Other sessions end within 30 seconds.',
    elsewhere: 'You sign in by single sign-on, and have no password here. What would ask for it wants you to have ' +
      'signed in within the last 10 minutes.',
    keys: 'Keys for machines',
    keysText: 'A script sends videos or fetches MP3s by a key, and cannot change the account.',
    keyName: 'Name',
    scope: 'What it may',
    scopes: { upload: 'send videos', read: 'see jobs, fetch MP3s' },
    spans: { '': 'For ever', '30d': '30 days', '90d': '90 days', '365d': '1 year' },
    makeKey: 'Make a key',
    key: 'The key',
    once: 'It is shown only now.',
    used: (s) => `used ${s}`,
    unused: 'not used yet',
    ends: (s) => `ends ${s}`,
    ended: (s) => `ended ${s}`,
    end: 'End the key',
    endKey: (name) => `End the key “${name}”?`,
    endKeyText: 'Whatever uses it is refused within 30 seconds.',
    keyEnded: 'The key has ended.',
    sessions: 'Sessions',
    sessionsText: 'Ends all sessions, also here and of the command line, within 30 seconds. Keys stay.',
    everywhere: 'Sign out everywhere',
    deleteAccount: 'Delete the account',
    deleteNote: 'All videos, MP3s, links and keys go with it, within minutes. Nobody can bring them back.',
    deleteTitle: 'Delete your account?',
    deleteText: 'It goes with all that is in it, for good.',
    delete: 'Delete it all',
    gone: 'Your account is deleted.',
  },
  people: {
    group: 'Group',
    newText: 'Gets a password that is shown once, for you to pass on.',
    passwordOf: (s) => `The password of ${s}`,
    disabled: 'may not sign in',
    you: 'you',
    elsewhere: 'by single sign-on',
    moved: (who, group) => `${who} is in the group ${group}.`,
    renew: 'New password',
    renewTitle: (s) => `A new password for ${s}?`,
    renewText: 'The one before and all sessions end.',
    disable: 'Disable',
    enable: 'Let in again',
    enabled: (s) => `${s} may sign in again.`,
    wasDisabled: (s) => `${s} may not sign in any more. Sessions and keys end within 30 seconds.`,
    deleteTitle: (s) => `Delete ${s}?`,
    deleteText: 'The account goes with all videos and MP3s, for good.',
    deleted: (s) => `${s} is deleted.`,
  },

  // links, podcast, settings
  shareTitle: 'A link to this MP3',
  shareText: 'Whoever has it can listen and download without an account, until it ends.',
  validFor: 'Valid for',
  linkSpans: { '1h': '1 hour', '1d': '1 day', '7d': '7 days', '30d': '30 days' },
  link: 'Link',
  makeLink: 'Make a link',
  linkEnds: (s) => `Ends ${s}.`,
  podcastTitle: 'Your podcast',
  podcastText: 'A secret address for any podcast app. It has your newest 300 MP3s, and new ones by themselves.',
  podcastAddress: 'Address',
  podcastOnce: 'It is shown only now. A new address ends the one before.',
  podcastMake: 'Make an address',
  podcastEnd: 'End the podcast',
  podcastEnded: 'The podcast has ended.',
  notifyTitle: 'Notifications',
  notifyText: 'Tell me in this browser when an MP3 is ready, while this page is open',
  notifyNo: 'The browser does not allow it. Its settings for this page can change that.',
  notifyInsecure: 'The browser allows this only over https.',
  mailTitle: 'Mail',
  mailText: (to) => `How each of your jobs ends is mailed to ${to}, where this service sends mail.`,
  webhookTitle: 'Webhook',
  webhookText: 'An address that is told how each of your jobs ends. What it gets is signed by the secret.',
  webhookAddress: 'Address',
  webhookSecret: 'Secret',
  webhookEnd: 'Remove',
  webhookSaved: 'The webhook is saved.',
  webhookGone: 'The webhook is removed.',
};

// What the presets of the options are.
const of = (rate, mono, normalize) => ({ rate, mono, normalize });
export const presets = { speech: of('q5', true, true), music: of('q2', false, false), best: of('b320', false, false) };
export const usual = presets.music; // what the service does by itself, where it may also take over an MP3 as it is

export const presetOf = (rate, mono, normalize) => Object.entries(presets)
  .find(([, p]) => p.rate === rate && p.mono === mono && p.normalize === normalize)?.[0];

export const rateOf = (o) => (o.bitrate ? `b${o.bitrate}` : `q${o.quality ?? usual.rate.slice(1)}`);

// words says options in short, by their preset where there is one.
export function words(o) {
  const preset = presetOf(rateOf(o), String(o.mono) === 'true', String(o.normalize) === 'true');
  return [
    ...preset ? [text[preset]] :
      [o.bitrate ? text.kbit(o.bitrate) : text.v(rateOf(o).slice(1)), o.mono && text.monoShort,
        o.normalize && text.evenShort],
    o.track && text.trackShort(o.track),
    o.start && text.from(typeof o.start === 'number' ? clock(o.start) : o.start),
    o.end && text.to(typeof o.end === 'number' ? clock(o.end) : o.end),
  ].filter(Boolean).join(', ');
}
