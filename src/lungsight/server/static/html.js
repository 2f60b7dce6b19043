// Elements from templates. Texts are texts, so that nothing of a file becomes markup.

import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export const html = htm.bind(h);
