// @ts-check
/** When a schedule is due: as people choose it, as an expression (see docs/schedules.md), and in words. */

import { t } from '../core/text.js';

export const KINDS = /** @type {const} */ (['weekdays', 'daily', 'weekly', 'interval', 'once', 'cron']);

/**
 * @typedef {{kind: typeof KINDS[number], time: string, days: number[], every: string, unit: string, at: string, cron: string}} Choice
 * `time`: `09:00`; `days`: of the week, 0 is Sunday; `every` and `unit`: `15` and `m`; `at`: `2030-01-31T09:00` in the zone
 */

/** days of the week in the order in which they are shown */
export const WEEK = [1, 2, 3, 4, 5, 6, 0];
const DAY_MS = 86_400_000;
const ALIASES = /** @type {Record<string, string>} */ ({ '@hourly': '0 * * * *', '@daily': '0 0 * * *', '@midnight': '0 0 * * *', '@weekly': '0 0 * * 0', '@monthly': '0 0 1 * *', '@yearly': '0 0 1 1 *', '@annually': '0 0 1 1 *' });
const INTERVAL = /^every\s*(\d+)\s*([smhd])$/i;
const MOMENT = /^\d{4}-\d\d-\d\d[T ]/;
/** times of a day that are named one by one; more are not told in words */
const MOST_TIMES = 4;

/** @param {number} day of the week */
export const dayName = (day) => t('schedules.days').split(' ')[day];
export const browserZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Return the names of all time zones, that of this browser first. @returns {string[]} */
export function listZones() {
  return [...new Set([browserZone(), 'UTC', ...Intl.supportedValuesOf('timeZone')])];
}

/** Return whether this browser knows a time zone. @param {string} zone */
export function knowsZone(zone) {
  try {
    return Boolean(Intl.DateTimeFormat('en', { timeZone: zone }));
  } catch {
    return false;
  }
}

/** Return the choice that makes an expression. @param {string} expression may be empty @param {string} zone @returns {Choice} */
export function readExpression(expression, zone) {
  const tomorrow = `${localTime(Date.now() + DAY_MS, zone).slice(0, 10)}T09:00`;
  const choice = { kind: /** @type {Choice['kind']} */ ('weekdays'), time: '09:00', days: [1], every: '15', unit: 'm', at: tomorrow, cron: '0 9 * * 1-5' };
  const words = expression.trim();
  if (!words) return choice;
  const [, every, unit] = INTERVAL.exec(words) ?? [];
  if (every) return { ...choice, kind: 'interval', every, unit: unit.toLowerCase() };
  if (MOMENT.test(words)) return { ...choice, kind: 'once', at: localTime(Date.parse(words), zone) };
  const cron = { ...choice, kind: /** @type {Choice['kind']} */ ('cron'), cron: words };
  const [, minute, hour, day] = /^(\d+) (\d+) \* \* (\S+)$/.exec(words) ?? [];
  if (!day || Number(minute) > 59 || Number(hour) > 23) return cron;
  const time = joinTime(Number(hour), Number(minute));
  if (day === '*') return { ...cron, kind: 'daily', time };
  const days = readSet(day, 0, 7);
  if (!days) return cron;
  return { ...cron, kind: isWeekdays(days) ? 'weekdays' : 'weekly', time, days: [...new Set(days.map((one) => one % 7))] };
}

/** Return the expression of a choice; an empty one while something is missing. @param {Choice} choice @param {string} zone */
export function makeExpression({ kind, time, days, every, unit, at, cron }, zone) {
  if (kind === 'cron') return cron.trim();
  if (kind === 'interval') return every && `every ${every}${unit}`;
  if (kind === 'once') return at && addOffset(at, zone);
  const [hour, minute] = time.split(':').map(Number);
  if (!time || (kind === 'weekly' && days.length === 0)) return '';
  return `${minute} ${hour} * * ${kind === 'daily' ? '*' : kind === 'weekdays' ? '1-5' : WEEK.filter((day) => days.includes(day)).join(',')}`;
}

/** Return an expression in words; the expression itself if no short words say it. @param {string} expression @param {string} zone */
export function describe(expression, zone) {
  const words = expression.trim();
  const [, every, unit] = INTERVAL.exec(words) ?? [];
  if (every) return tellEvery(Number(every), unit.toLowerCase());
  if (MOMENT.test(words)) return t('schedules.once.at', { at: localTime(Date.parse(words), zone).replace('T', ' ') });
  const parts = (ALIASES[words.toLowerCase()] ?? words).split(/\s+/);
  if (parts.length !== 5) return expression;
  const time = tellTime(parts[0], parts[1]);
  const days = tellDays(parts[2], parts[3], parts[4]);
  if (!time || days === null) return expression;
  const told = days ? `${days} ${time}` : /^[*]|[*]|-/.test(parts[1]) || parts[0].startsWith('*') ? time : `${t('schedules.daily')} ${time}`;
  return told[0].toUpperCase() + told.slice(1);
}

/** @param {number} count @param {string} unit */
const tellEvery = (count, unit) => t(/** @type {any} */ (`schedules.every.${unit}`), { n: count });

/** @param {string} minutes @param {string} hours */
function tellTime(minutes, hours) {
  const [, step] = /^\*(?:\/(\d+))?$/.exec(minutes) ?? [];
  const [, hourStep] = /^\*\/(\d+)$/.exec(hours) ?? [];
  const [, from, to] = /^(\d+)-(\d+)$/.exec(hours) ?? [];
  if (minutes.startsWith('*')) {
    if (minutes !== '*' && !step) return null;
    const told = tellEvery(Number(step ?? 1), 'm');
    if (hours === '*') return told.toLowerCase();
    return from && `${told.toLowerCase()} ${t('schedules.between', { from: joinTime(Number(from), 0), to: joinTime(Number(to), 59) })}`;
  }
  const found = readSet(minutes, 0, 59);
  if (found?.length !== 1) return null;
  const minute = found[0];
  if (hours === '*') return t('schedules.hourly', { minute: joinTime(0, minute).slice(2) });
  if (hourStep) return `${tellEvery(Number(hourStep), 'h').toLowerCase()}${minute ? ` ${t('schedules.minute', { minute: joinTime(0, minute).slice(2) })}` : ''}`;
  if (from) return `${tellEvery(1, 'h').toLowerCase()} ${t('schedules.between', { from: joinTime(Number(from), minute), to: joinTime(Number(to), minute) })}`;
  const all = readSet(hours, 0, 23);
  return all && all.length <= MOST_TIMES ? t('schedules.at', { times: all.map((hour) => joinTime(hour, minute)).join(', ') }) : null;
}

/** Return which days; nothing for all of them, null if no short words say it. @param {string} days of the month @param {string} months @param {string} week */
function tellDays(days, months, week) {
  const ofWeek = week === '*' ? [] : readSet(week, 0, 7, t('schedules.days.cron').split(' '));
  const ofMonth = days === '*' ? [] : readSet(days, 1, 31);
  const inMonths = months === '*' ? [] : readSet(months, 1, 12, ['', ...t('schedules.months').toUpperCase().split(' ')]);
  if (!ofWeek || !ofMonth || !inMonths || (ofWeek.length && ofMonth.length)) return null;
  const named = [...new Set(ofWeek.map((day) => day % 7))];
  const told = [];
  if (isWeekdays(named)) told.push(t('schedules.weekdays'));
  else if (named.length) told.push(WEEK.filter((day) => named.includes(day)).map(dayName).join(', '));
  if (ofMonth.length) told.push(t('schedules.monthly', { days: ofMonth.join(', ') }));
  if (inMonths.length) told.push(t('schedules.in.months', { months: inMonths.map((month) => t('schedules.months').split(' ')[month - 1]).join(', ') }));
  return told.join(' ');
}

/** Return the numbers of a list of numbers and ranges; null if it is none. @param {string} text @param {number} least @param {number} most @param {string[]} [names] by their number */
function readSet(text, least, most, names = []) {
  const found = [];
  for (const part of text.toUpperCase().split(',')) {
    const ends = part.split('-').map((end) => (names.includes(end) && end ? names.indexOf(end) : /^\d+$/.test(end) ? Number(end) : NaN));
    const [from, to = from] = ends;
    if (ends.length > 2 || !(from >= least && from <= to && to <= most)) return null;
    for (let n = from; n <= to; n++) found.push(n);
  }
  return [...new Set(found)];
}

/** @param {number[]} days */
const isWeekdays = (days) => days.length === 5 && [1, 2, 3, 4, 5].every((day) => days.includes(day));

/** @param {number} hour @param {number} minute */
const joinTime = (hour, minute) => [hour, minute].map((n) => String(n).padStart(2, '0')).join(':');

/** Return a moment in a zone as a field for times takes it. @param {number} at in milliseconds @param {string} zone */
function localTime(at, zone) {
  if (Number.isNaN(at)) return '';
  // Sweden writes dates as ISO 8601 does.
  return new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'short', timeZone: knowsZone(zone) ? zone : undefined }).format(at).replace(' ', 'T');
}

/** Return a time in a zone with its offset from UTC. @param {string} local @param {string} zone */
function addOffset(local, zone) {
  const guess = offsetAt(Date.parse(`${local}Z`), zone);
  return `${local}:00${offsetAt(Date.parse(`${local}:00${guess}`), zone)}`;
}

/** @param {number} at in milliseconds @param {string} zone */
function offsetAt(at, zone) {
  const parts = new Intl.DateTimeFormat('en', { timeZone: knowsZone(zone) ? zone : undefined, timeZoneName: 'longOffset' }).formatToParts(at);
  return parts.find(({ type }) => type === 'timeZoneName')?.value.replace('GMT', '') || '+00:00';
}
