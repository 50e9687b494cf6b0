/** The environment of the platform's own processes: what they need by name, and nothing else of the shell that started
 *  them. Functions get even less: only what their fn.yaml says. */

import { join } from 'node:path';
import { type Config, SETTINGS } from '../../core/config.ts';
import type { Role } from '../../core/service.ts';

const EVERYONE = ['HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

/** A company's certificate authority. The gateway fetches the keys of issuers of tokens. */
const CERTIFICATES = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE'];

/** The builder alone talks to package registries, perhaps through a proxy. */
const BUILDER = [
  ...CERTIFICATES,
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'npm_config_registry',
  'npm_config_userconfig',
  'npm_config_cafile',
];

export function environmentOf(process: Role | 'redis', config: Config, env: NodeJS.ProcessEnv): Record<string, string> {
  const settings = process === 'redis' ? [] : Object.values(SETTINGS).map((setting) => setting.env);
  const names = [
    ...EVERYONE,
    ...settings,
    ...(process === 'builder' ? BUILDER : []),
    ...(process === 'gateway' ? CERTIFICATES : []),
  ];
  const kept = Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
  return {
    ...kept,
    // mount, nft and the runtimes may be in sbin, which the path of a user who called sudo can lack.
    PATH: `${env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin`,
    ...(process !== 'redis' && {
      FN_HOME: config.home,
      FN_GATEWAY_PORT: String(config.gatewayPort),
      FN_TLS_PORT: String(config.tlsPort),
      FN_API_PORT: String(config.apiPort),
      NODE_COMPILE_CACHE: join(config.paths.cache, 'compile'),
    }),
  };
}
