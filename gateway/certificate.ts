/** The certificate of the TLS port, from two PEM files that somebody else renews. It is read by whom the gateway runs as,
 *  since it has to be read again later: the files are looked at now and then, level not edge, so neither the way they are
 *  replaced (rename, symbolic link, in place) nor the file system matters. What was found is used when it is the same twice,
 *  for a file may be half-written, and only when the certificate and the key are valid and belong together; else the
 *  pair in use stays in use, and the log and a metric say why. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { FnError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Millis } from '../core/units.ts';

export interface CertificateOptions {
  readonly certFile: string;
  readonly keyFile: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly lookEvery?: Millis;
}

/** What node:tls takes. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** What a port with TLS needs of it. */
export interface CertificateSource {
  readonly pair: KeyPair;
  /** Hears of each pair that replaces the one before. */
  onChange(listener: (pair: KeyPair) => void): void;
}

const LOOK_EVERY: Millis = 1000;
/** Larger than any chain; a mistaken path should not be read into memory. */
const FILE_MAX = 2 ** 20;

export class Certificate implements CertificateSource, Disposable {
  readonly #options: CertificateOptions;
  readonly #listeners = new Set<(pair: KeyPair) => void>();
  readonly #timer: NodeJS.Timeout;
  #pair: KeyPair;
  /** Seen at the last look, not yet judged. */
  #seen: KeyPair | undefined;
  /** Judged and found unfit: not told twice. */
  #refused: KeyPair | undefined;
  #looking = false;

  /** @throws FnError tls.unusable */
  constructor(options: CertificateOptions) {
    this.#options = options;
    this.#pair = { cert: readNow('FN_TLS_CERT', options.certFile), key: readNow('FN_TLS_KEY', options.keyFile) };
    this.#use(this.#pair);
    this.#timer = setInterval(() => void this.#look(), options.lookEvery ?? LOOK_EVERY).unref();
  }

  get pair(): KeyPair {
    return this.#pair;
  }

  onChange(listener: (pair: KeyPair) => void): void {
    this.#listeners.add(listener);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { certFile, keyFile } = this.#options;
    const [cert, key] = await Promise.all([readLater(certFile), readLater(keyFile)]);
    this.#looking = false;
    const found = { cert, key };
    if (isSame(found, this.#pair) || isSame(found, this.#refused)) this.#seen = undefined;
    else if (!isSame(found, this.#seen)) this.#seen = found;
    else this.#judge(found);
  }

  #judge(found: KeyPair): void {
    const { log, metrics } = this.#options;
    this.#seen = undefined;
    const reloads = metrics.counter('fn_tls_reloads_total');
    try {
      this.#use(found);
    } catch (error) {
      this.#refused = found;
      reloads.inc({ outcome: 'refused' });
      log.error({ why: (error as Error).message }, 'new TLS certificate refused; the one before stays in use');
      return;
    }
    this.#refused = undefined;
    this.#pair = found;
    reloads.inc({ outcome: 'loaded' });
    for (const listener of this.#listeners) listener(found);
  }

  #use(pair: KeyPair): void {
    const until = check(pair, this.#options);
    this.#options.metrics.gauge('fn_tls_certificate_expiry_timestamp_seconds').set(until.getTime() / 1000);
    this.#options.log.info({ until: until.toISOString() }, 'TLS certificate loaded');
  }
}

function isSame(a: KeyPair, b: KeyPair | undefined): boolean {
  return a.cert === b?.cert && a.key === b.key;
}

/** @returns when the certificate ends. */
function check({ cert, key }: KeyPair, files: { certFile: string; keyFile: string }): Date {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (cause) {
    throw unusable(`FN_TLS_CERT: ${files.certFile} is not a certificate in PEM form`, cause);
  }
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw unusable(`FN_TLS_KEY: ${files.keyFile} is not a private key in PEM form without a passphrase`, cause);
  }
  if (!fits) throw unusable(`the key in ${files.keyFile} does not belong to the certificate in ${files.certFile}`);
  try {
    createSecureContext({ cert, key }); // The rest of the chain, and what OpenSSL finds too weak.
  } catch (cause) {
    throw unusable(`FN_TLS_CERT: ${files.certFile}: ${(cause as Error).message}`, cause);
  }
  return certificate.validToDate;
}

function readNow(env: string, file: string): string {
  try {
    const { size } = statSync(file);
    if (size > FILE_MAX) throw unusable(`${env}: ${file} has ${size} bytes, which is no certificate or key`);
    return readFileSync(file, 'latin1');
  } catch (error) {
    if (error instanceof FnError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw unusable(`${env}: there is no file ${file}`, error);
    if (code !== 'EACCES' && code !== 'EPERM') throw unusable(`${env}: cannot read ${file} (${code})`, error);
    const who = `uid ${process.geteuid?.()}, gid ${process.getegid?.()}`;
    throw new FnError('tls.unusable', `${env}: the gateway runs as ${who} and may not read ${file}`, {
      cause: error,
      hint: 'Give that group the right to read it and to enter its directory, or set FN_GATEWAY_UID: docs/tls.md.',
    });
  }
}

/** Empty when it cannot be read: no pair then, and not the one in use. */
async function readLater(file: string): Promise<string> {
  const text = await readFile(file, 'latin1').catch(() => '');
  return text.length > FILE_MAX ? '' : text;
}

function unusable(why: string, cause?: unknown): FnError {
  return new FnError('tls.unusable', why, { cause });
}
