/** The Headers class of the Fetch standard. Test: test/runtime/fetch compares all of this with node's. */

/** An HTTP token (RFC 9110, 5.6.2). */
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Bytes that cannot be in a field value: NUL, CR, LF, and what Latin-1 does not have. */
const BAD_VALUE = /[\0\r\n]|[^\0-\xff]/;

/** @param {unknown} name */
function nameOf(name) {
  const text = String(name);
  if (!NAME.test(text)) throw new TypeError(`${JSON.stringify(text)} is not a header name`);
  return text.toLowerCase();
}

/** @param {unknown} value */
function valueOf(value) {
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');
  if (BAD_VALUE.test(text)) throw new TypeError(`${JSON.stringify(text)} is not a header value`);
  return text;
}

export class Headers {
  /** By lower-case name; repeated ones joined. @type {Map<string, string>} */
  #fields = new Map();
  /** The one header that cannot be joined. @type {string[]} */
  #cookies = [];

  /** Those of a reply that fetch() gave are of node's own class.
   *  @param {unknown} value */
  static [Symbol.hasInstance](value) {
    if (this !== Headers) return Function.prototype[Symbol.hasInstance].call(this, value);
    return Object.prototype.toString.call(value) === '[object Headers]';
  }

  /** Of a request as node:http parsed it: valid already, in alternation name and value.
   *  @param {string[]} raw */
  static ofIncoming(raw) {
    const headers = new Headers();
    for (let at = 0; at < raw.length; at += 2) headers.#add((raw[at] ?? '').toLowerCase(), raw[at + 1] ?? '');
    return headers;
  }

  /** @param {any} [init] */
  constructor(init) {
    if (init === undefined) return;
    if (init === null || typeof init !== 'object') throw new TypeError('headers must be an object or a list of pairs');
    if (#fields in init) {
      this.#fields = new Map(init.#fields);
      this.#cookies = [...init.#cookies];
    } else if (typeof init[Symbol.iterator] === 'function') {
      for (const pair of init) {
        const [name, value, ...more] = pair;
        if (value === undefined || more.length > 0) throw new TypeError('a header must be a pair of name and value');
        this.append(name, value);
      }
    } else {
      for (const name of Object.keys(init)) this.append(name, init[name]);
    }
  }

  /** @param {string} name @param {string} value */
  append(name, value) {
    this.#add(nameOf(name), valueOf(value));
  }

  /** @param {string} name @param {string} value */
  set(name, value) {
    const key = nameOf(name);
    if (key === 'set-cookie') this.#cookies = [valueOf(value)];
    else this.#fields.set(key, valueOf(value));
  }

  /** @param {string} name */
  delete(name) {
    const key = nameOf(name);
    if (key === 'set-cookie') this.#cookies = [];
    else this.#fields.delete(key);
  }

  /** @param {string} name @returns {string | null} */
  get(name) {
    const key = nameOf(name);
    if (key !== 'set-cookie') return this.#fields.get(key) ?? null;
    return this.#cookies.length > 0 ? this.#cookies.join(', ') : null;
  }

  /** @param {string} name */
  has(name) {
    const key = nameOf(name);
    return key === 'set-cookie' ? this.#cookies.length > 0 : this.#fields.has(key);
  }

  getSetCookie() {
    return [...this.#cookies];
  }

  /** @param {(value: string, name: string, headers: Headers) => void} callback @param {unknown} [self] */
  forEach(callback, self) {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  entries() {
    return this.#sorted().values();
  }

  keys() {
    return this.#sorted()
      .map(([name]) => name)
      .values();
  }

  values() {
    return this.#sorted()
      .map(([, value]) => value)
      .values();
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  get [Symbol.toStringTag]() {
    return 'Headers';
  }

  [Symbol.for('nodejs.util.inspect.custom')]() {
    return { ...Object.fromEntries(this.#fields), ...(this.#cookies.length > 0 && { 'set-cookie': this.#cookies }) };
  }

  /** For node:http: names and values in alternation, in the order they were set.
   *  @param {ReadonlySet<string>} without */
  toRaw(without) {
    /** @type {string[]} */
    const raw = [];
    for (const [name, value] of this.#fields) if (!without.has(name)) raw.push(name, value);
    for (const cookie of this.#cookies) raw.push('set-cookie', cookie);
    return raw;
  }

  /** @param {string} key @param {string} value */
  #add(key, value) {
    if (key === 'set-cookie') {
      this.#cookies.push(value);
      return;
    }
    const before = this.#fields.get(key);
    this.#fields.set(key, before === undefined ? value : `${before}${key === 'cookie' ? '; ' : ', '}${value}`);
  }

  /** @returns {[string, string][]} */
  #sorted() {
    const pairs = [...this.#fields];
    for (const cookie of this.#cookies) pairs.push(['set-cookie', cookie]);
    return pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  }
}
