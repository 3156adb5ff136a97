// @ts-check
/** The pages that stand in the menu for the one who is signed in, in its order. */

import { me } from './api.js';
import { PAGES } from './router.js';

export const menuPages = () => PAGES.filter((row) => row.icon && (!row.inFleet || me()?.in_fleet));
