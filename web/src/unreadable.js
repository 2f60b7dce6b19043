/** What a user can cause: a code and plain words; never a word of the file. */
export class Unreadable extends Error {
  constructor(code, words) {
    super(words);
    this.code = code;
  }
}
