// @ts-check
/** What a schedule is called where it is shown. */

import { firstLine } from '../core/format.js';

const MAX_CHARACTERS = 80;

/** Return the name of a schedule; without one, the beginning of its prompt. @param {{name: string, prompt: string}} job */
export const jobName = (job) => job.name || firstLine(job.prompt, MAX_CHARACTERS);
